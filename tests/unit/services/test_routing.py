"""The names and paths of a site: which route wins, what the inventory refuses, and how a service is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.postgresql.failover import steps
from plainstack.services import routing, site
from plainstack.services.processes import served
from tests import inventories

TEXT = """\
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example, www.shop.example, "*.tenant.example"], redirects: [REDIRECTS]}
services:
  web: {kind: binary, source: ., routes: [WEB], processes: {web: {command: run, port: 8000, health: /up}}}
  api: {kind: binary, source: ., routes: [API], processes: {web: {command: run, port: 8001, health: /up}}}
"""


def parse(web: str, api: str, redirects: str = "") -> Stack:
    text = TEXT.replace("REDIRECTS", redirects).replace("WEB", web).replace("API", api)
    return inventories.parse(text, "hosts.yaml", Path.cwd())


def table(stack: Stack) -> dict[str, dict[str, str]]:
    """Return the service of each path, by name."""
    return {
        name: {location.path: location.service.service for location in each.locations}
        for each in routing.sites(stack)
        for name in each.names
    }


def test_a_route_with_a_name_wins_over_a_wildcard_and_that_over_one_without() -> None:
    stack = parse('/, {host: "*.tenant.example"}', '{host: a.tenant.example}, {host: "*.tenant.example", path: /x/}')
    assert table(stack) == {
        "shop.example": {"/": "web"},
        "www.shop.example": {"/": "web"},
        "*.tenant.example": {"/": "web", "/x/": "api"},
        "a.tenant.example": {"/": "api", "/x/": "api"},
    }


def test_the_asterisk_of_a_route_stands_for_one_label() -> None:
    text = TEXT.replace("REDIRECTS", "").replace('"*.tenant.example"', '"*.tenant.example", a.b.tenant.example')
    text = text.replace("WEB", "/").replace("API", '{host: "*.tenant.example"}')
    found = table(inventories.parse(text, "hosts.yaml", Path.cwd()))
    assert (found["*.tenant.example"], found["a.b.tenant.example"]) == ({"/": "api"}, {"/": "web"})


def test_a_redirected_name_has_no_routes_and_is_never_used_by_the_stack_itself() -> None:
    stack = parse("/", "/api/", "{host: shop.example, to: 'https://www.shop.example'}")
    assert table(stack)["www.shop.example"] == {"/": "web", "/api/": "api"}
    redirected = next(each for each in routing.sites(stack) if "shop.example" in each.names)
    assert (redirected.redirect, redirected.locations) == ("https://www.shop.example$request_uri", ())
    assert site.name(stack) == "www.shop.example"


def test_what_is_more_specific_is_an_exception_from_the_redirect_of_a_name() -> None:
    whole = '{host: "*.tenant.example", to: "https://shop.example"}'
    page = "{host: a.tenant.example, path: /promo, to: 'https://www.shop.example/y'}"
    stack = parse("/", "/x/, {host: b.tenant.example, path: /app/}", f"{whole}, {page}")
    found = {name: each for each in routing.sites(stack) for name in each.names}
    rest = ("/", "https://shop.example$request_uri")
    assert [(one.path, one.to) for one in found["a.tenant.example"].moved] == [
        ("/promo", "https://www.shop.example/y$is_args$args"),
        rest,
    ]
    assert [(one.path, one.to) for one in found["b.tenant.example"].moved] == [rest]
    assert table(stack) == {
        "shop.example": {"/": "web", "/x/": "api"},
        "www.shop.example": {"/": "web", "/x/": "api"},
        "*.tenant.example": {},
        "a.tenant.example": {},
        "b.tenant.example": {"/app/": "api"},
    }


def test_a_route_of_all_paths_replaces_the_redirect_of_a_wildcard() -> None:
    whole = '{host: "*.tenant.example", to: "https://shop.example"}'
    assert table(parse("/", "/x/, {host: b.tenant.example}", whole))["b.tenant.example"] == {"/": "api", "/x/": "api"}


@pytest.mark.parametrize(
    ("files_of", "redirects", "found"),
    [
        (["web", "api"], "", {"a.tenant.example": "api", "shop.example": "web"}),
        (["web"], "{host: shop.example, path: /static/, to: /w/}", {"www.shop.example": "web", "shop.example": ""}),
        (["api"], "{path: /static/, to: /w/}", {"a.tenant.example": "api", "shop.example": ""}),
    ],
)
def test_of_the_files_and_redirects_at_a_path_the_one_with_a_name_wins(
    files_of: Sequence[str], redirects: str, found: Mapping[str, str]
) -> None:
    text = TEXT.replace("REDIRECTS", redirects).replace("WEB", "/, /w/").replace("API", "{host: a.tenant.example}")
    for service in files_of:
        text = text.replace(f"{service}: {{kind", f"{service}: {{static: {{path: /static/, folder: public}}, kind")
    names = table(inventories.parse(text, "hosts.yaml", Path.cwd()))
    assert {name: names[name].get("/static/", "") for name in found} == found


def test_a_redirect_that_no_request_gets_is_refused() -> None:
    with pytest.raises(InventoryError) as caught:
        parse("{host: shop.example}, {host: www.shop.example}, {host: '*.tenant.example'}", "/x/", "{path: /, to: /x/}")
    said = "no request gets there: every name has another route or redirect for /"
    assert str(caught.value) == f"hosts.yaml:5: balancer.redirects.0: {said}"


def test_between_a_route_and_a_redirect_of_a_path_the_one_with_a_name_wins() -> None:
    stack = parse("/, {host: shop.example, path: /news/}", "/x/", "{path: /news/, to: /x/}, {path: /blog/, to: /x/}")
    moved = {name: [one.path for one in each.moved] for each in routing.sites(stack) for name in each.names}
    assert moved["shop.example"] == ["/blog/"]
    assert moved["www.shop.example"] == ["/news/", "/blog/"]
    assert "/news/" in table(stack)["shop.example"]


def test_a_service_is_asked_under_a_name_that_has_its_first_route() -> None:
    stack = parse("{host: www.shop.example}", '/, {host: "*.tenant.example"}')
    web, api = served(stack)
    assert (site.known_as(stack, web), site.known_as(stack, api)) == ("www.shop.example", "shop.example")
    assert steps.asks_site(stack)[-1] == "https://www.shop.example/up"
    wildcard = served(parse('{host: "*.tenant.example"}', "/"))[0]
    assert site.known_as(parse('{host: "*.tenant.example"}', "/"), wildcard) == "www.tenant.example"


def test_the_name_that_replaces_a_wildcard_has_no_rules_of_its_own() -> None:
    own = ", ".join(f"{{host: {one}.tenant.example, to: 'https://shop.example'}}" for one in ("www", "site"))
    stack = parse('{host: "*.tenant.example"}', "/, {host: site2.tenant.example}", own)
    web, api = served(stack)
    assert (site.known_as(stack, web), site.known_as(stack, api)) == ("site3.tenant.example", "shop.example")
    assert site.health_host(stack, "web", "web") == "site3.tenant.example"
    assert "site3.tenant.example" in [name for name, _ in site.addresses(stack)]


def test_the_sites_name_is_used_for_a_service_that_answers_under_its_wildcard() -> None:
    text = TEXT.replace("shop.example, www.shop.example, ", "").replace("REDIRECTS", "")
    text = text.replace("WEB", "/").replace("API", "{host: a.tenant.example, path: /x/}")
    stack = inventories.parse(text, "hosts.yaml", Path.cwd())
    assert [site.known_as(stack, one) for one in served(stack)] == ["www.tenant.example", "a.tenant.example"]


def test_a_redirected_wildcard_does_not_name_a_site_that_has_another_name() -> None:
    text = TEXT.replace("shop.example, www.shop.example, ", "")
    text = text.replace("REDIRECTS", '{host: "*.tenant.example", to: "https://a.tenant.example"}')
    text = text.replace("WEB", "{host: a.tenant.example}").replace("API", "{host: a.tenant.example, path: /x/}")
    assert site.name(inventories.parse(text, "hosts.yaml", Path.cwd())) == "a.tenant.example"


@pytest.mark.parametrize(
    ("web", "api", "redirects", "problems"),
    [
        (
            "/",
            "/x/, {path: /}",
            "",
            [
                "hosts.yaml:7: services.web.routes.0: / is also that of services.api.routes.1",
                "hosts.yaml:8: services.api.routes.1: / is already that of services.web.routes.0",
            ],
        ),
        (
            "/, {host: www.shop.example, path: /x/}",
            "/api/",
            "{host: www.shop.example, to: 'https://shop.example'}",
            [
                "hosts.yaml:5: balancer.redirects.0: www.shop.example is already that of services.web.routes.1",
                "hosts.yaml:7: services.web.routes.1: www.shop.example/x/ is also that of balancer.redirects.0",
            ],
        ),
        (
            "/, {host: shop.exmple}",
            "/api/",
            "",
            [
                "hosts.yaml:7: services.web.routes.1.host: shop.exmple is not in balancer.server_names"
                ", did you mean 'shop.example'?; known: shop.example, www.shop.example, *.tenant.example"
            ],
        ),
        (
            "/, {host: a.b.tenant.example}",
            '/api/, {host: "*.b.tenant.example"}, {host: c.tenant.example}',
            "{host: d.e.tenant.example, to: 'https://shop.example'}",
            [
                f"hosts.yaml:{place}.host: the certificate of *.tenant.example does not cover {name}: the '*' stands"
                f" for one part of a name. Add {name} to balancer.server_names"
                for place, name in (
                    ("5: balancer.redirects.0", "d.e.tenant.example"),
                    ("7: services.web.routes.1", "a.b.tenant.example"),
                    ("8: services.api.routes.1", "*.b.tenant.example"),
                )
            ],
        ),
        (
            '{host: shop.example}, {host: www.shop.example}, {host: "*.tenant.example"}',
            "/",
            "",
            ["hosts.yaml:8: services.api.routes.0: no request gets there: every name has another route or redirect"],
        ),
        ("/", "{path: /api/, timout: 5}", "", ["hosts.yaml:8: services.api.routes.0.timout: unknown key"]),
        ("/", "{path: /api/, limit: {rate: 5}}", "", ["hosts.yaml:8: services.api.routes.0.limit.rate: must be"]),
        (
            "/",
            "{path: /api/, limit: {burst: 5}}",
            "",
            ["hosts.yaml:8: services.api.routes.0.limit: needs `rate`, `con"],
        ),
        ("/", "{path: /api/, headers: {X-A: '$host'}}", "", ["hosts.yaml:8: services.api.routes.0.headers.X-A: must"]),
        ("/", "/api/", "{to: /x/}", ["hosts.yaml:5: balancer.redirects.0: needs `host`, `path` or both"]),
        ("/", "/api/", "{path: /a/, to: /a/b/}", ["hosts.yaml:5: balancer.redirects.0.to: /a/b/ is redirected again"]),
        (
            "/",
            "/api/",
            "{host: www.shop.example, to: 'https://www.shop.example/x'}",
            ["hosts.yaml:5: balancer.redirects.0.to: https://www.shop.example/x is redirected again by the same rule"],
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line(web: str, api: str, redirects: str, problems: list[str]) -> None:
    with pytest.raises(InventoryError) as caught:
        parse(web, api, redirects)
    said = str(caught.value).splitlines()
    assert [next((line for line in said if line.startswith(one)), said) for one in problems] == said


def test_files_have_one_path() -> None:
    text = TEXT.replace("REDIRECTS", "").replace("WEB", "/").replace("API", "/docs/, /docs/in/, /manual/")
    static = text.replace("api: {kind: binary", "api: {kind: static").replace(
        ", processes: {web: {command: run, port: 8001, health: /up}}", ""
    )
    with pytest.raises(InventoryError) as caught:
        inventories.parse(static, "hosts.yaml", Path.cwd())
    place = "hosts.yaml:8: services.api.routes.2: "
    assert str(caught.value) == f"{place}the files are served at /docs/, the first route, and not at /manual/"


def test_routes_and_path_exclude_each_other() -> None:
    text = (
        TEXT.replace("REDIRECTS", "")
        .replace("WEB", "/")
        .replace("API", "/api/")
        .replace("source: ., ", "source: ., path: /x/, ")
    )
    with pytest.raises(InventoryError, match=r"services\.web\.routes: replaces services\.web\.path\. Remove `path`"):
        inventories.parse(text, "hosts.yaml", Path.cwd())


def test_a_name_needs_the_list_of_names() -> None:
    text = TEXT.replace(
        'server_names: [shop.example, www.shop.example, "*.tenant.example"], redirects: [REDIRECTS]', ""
    )
    with pytest.raises(InventoryError, match=r"services\.api\.routes\.0\.host: needs balancer\.server_names"):
        inventories.parse(text.replace("WEB", "/").replace("API", "{host: a.example}"), "hosts.yaml", Path.cwd())
