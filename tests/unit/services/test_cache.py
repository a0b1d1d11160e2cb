"""The settings of the balancers' cache, what `inv cache.purge` selects, and how requests are counted."""

from __future__ import annotations

from pathlib import Path

import cache_files
import cache_log
import pytest

from plainstack.errors import InventoryError, Refused
from plainstack.inventory.stack import Stack
from plainstack.services import cache
from tests import inventories

TEXT = """\
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example, api.shop.example], BALANCER}
services:
  web: {kind: binary, source: ., routes: [WEB], processes: {web: {command: run, port: 8000, health: /up}}}
  api:
    {kind: binary, source: ., routes: [{host: api.shop.example}], processes: {web: {command: x, port: 8001, health: /}}}
"""


def parse(web: str, balancer: str = "") -> Stack:
    return inventories.parse(TEXT.replace("WEB", web).replace("BALANCER", balancer), "hosts.yaml", Path.cwd())


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("cache: {}", "cache.ttl: is missing"),
        ("cache: {ttl: soon}", "cache.ttl: must be a whole number of seconds, or a number with s, m, h or d"),
        ("cache: {ttl: true}", "cache.ttl: must be a whole number of seconds"),
        ("cache: {ttl: 1m, stale: -1}", "cache.stale: must be between 0 and 365d"),
        ("cache: {ttl: 1m, methods: [GET, POST]}", "cache.methods.1: must be GET or HEAD: other methods change"),
        ("cache: {ttl: 1m, methods: [HEAD]}", "cache.methods: must be a list with GET"),
        ("cache: {ttl: 1m, bypass: [cookies]}", "cache.bypass.0: must be cookie (any cookie), cookie:NAME"),
        ("cache: {ttl: 1m, bypass: ['cookie:a b']}", "cache.bypass.0: must be cookie (any cookie), cookie:NAME"),
        ("cache: {ttl: 1m}, buffering: false", "cache: `buffering: false` passes responses on as they arrive, as Web"),
    ],
)
def test_a_cache_that_cannot_work_is_refused(route: str, problem: str) -> None:
    with pytest.raises(InventoryError) as error:
        parse(f"{{path: /, {route}}}")
    assert f"hosts.yaml:7: services.web.routes.0.{problem}" in str(error.value)


@pytest.mark.parametrize(
    ("disk", "problem"),
    [
        ("{size: 1}", "balancer.cache.size: must be a whole number with M or G and at least 16M"),
        ("{folder: cache}", "balancer.cache.folder: must be the absolute path of a folder"),
        ("{folder: /srv/../etc}", "balancer.cache.folder: must be the absolute path of a folder"),
        ("{folder: /etc/cache}", "balancer.cache.folder: must be the path of a folder for data"),
        ("{folder: /var/tmp/x}", "balancer.cache.folder: must be the path of a folder for data"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused(disk: str, problem: str) -> None:
    with pytest.raises(InventoryError) as error:
        parse("{path: /, cache: {ttl: 1m}}", f"cache: {disk}")
    assert problem in str(error.value)


def test_a_place_for_nothing_is_refused() -> None:
    with pytest.raises(InventoryError, match=r"balancer\.cache: no route has the key `cache`"):
        parse("/", "cache: {size: 2G}")


ROUTES = "{path: /, cache: {ttl: 10m}}, /plain/, {path: /news/, cache: {ttl: 60, stale: 0}}"


@pytest.mark.parametrize(
    ("typed", "service", "wanted"),
    [
        ("/news/", "", cache.Purge((), "", "/news/")),
        ("/news/*", "web", cache.Purge(("web", "web.2"), "", "/news/", True)),
        ("/p*", "", cache.Purge((), "", "/p", True)),
        ("/a?b=c&d", "", cache.Purge((), "", "/a?b=c&d")),
        ("/caf\u00e9 ".strip(), "", cache.Purge((), "", "/caf%C3%A9")),
        ("https://shop.example", "", cache.Purge((), "shop.example", "/")),
        ("https://shop.example/news/?page=2", "", cache.Purge((), "shop.example", "/news/?page=2")),
    ],
)
def test_a_path_or_url_selects_responses(typed: str, service: str, wanted: cache.Purge) -> None:
    assert cache.purge(parse(ROUTES), typed, service, everything=False) == wanted


@pytest.mark.parametrize(
    ("typed", "service", "everything", "problem"),
    [
        (
            "/plain/x",
            "",
            False,
            "/plain/x is not cached: it is served by web, at /plain/; cached are the routes /, /news/",
        ),
        (
            "https://api.shop.example/",
            "",
            False,
            "/ is not cached: it is served by api, at /; cached are the routes /, /n",
        ),
        ("news", "", False, "'news' is neither a path, such as /news/, nor a URL"),
        ("ftp://shop.example/", "", False, "is neither a path"),
        ("https://shp.example/", "", False, "unknown name 'shp.example', did you mean 'shop.example'?"),
        ("/news/", "api", False, "no route of api has the key `cache`; services with one: web"),
        ("/news/", "wbe", False, "unknown service 'wbe', did you mean 'web'?; known: web"),
        ("", "", False, "name the path to purge"),
    ],
)
def test_a_path_or_service_without_a_cache_is_refused(typed: str, service: str, everything: bool, problem: str) -> None:
    with pytest.raises(Refused) as error:
        cache.purge(parse(ROUTES), typed, service, everything=everything)
    assert problem in str(error.value)


def test_only_the_route_that_answers_under_a_name_counts() -> None:
    text = TEXT.replace("[shop.example, api.shop.example]", '["*.shop.example", a.b.shop.example]')
    text = text.replace("WEB", '/, {host: "*.shop.example", path: /, cache: {ttl: 10m}}').replace(", BALANCER", "")
    stack = inventories.parse(text, "hosts.yaml", Path.cwd())
    for name in ("x.shop.example", "*.shop.example"):
        assert cache.purge(stack, f"https://{name}/", "", everything=False) == cache.Purge((), name, "/")
    for name, server in (("api.shop.example", "api"), ("a.b.shop.example", "web")):
        with pytest.raises(Refused, match=f"/ is not cached: it is served by {server}, at /; cached are"):
            cache.purge(stack, f"https://{name}/", "", everything=False)
    with pytest.raises(Refused, match=r"unknown name 'c\.b\.shop\.example'"):
        cache.purge(stack, "https://c.b.shop.example/", "", everything=False)


def test_a_stack_without_a_cache_has_nothing_to_purge() -> None:
    with pytest.raises(Refused, match="no route of this stack has the key `cache`"):
        cache.purge(parse("/"), "/", "", everything=False)


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (((), "", "/a"), True),
        (((), "", "/a?x"), True),
        (((), "", "/a?y"), False),
        (((), "shop.example", "/a"), True),
        (((), "api.shop.example", ""), False),
        (((), "*.example", ""), True),
        (((), "*.shop.example", ""), False),
        ((("web.1",), "", ""), False),
    ],
)
def test_a_stored_response_is_selected_by_route_name_and_path(
    selection: tuple[tuple[str, ...], str, str], selected: bool
) -> None:
    entry = cache_files.Entry("web", "shop.example:8443", "/a?x", 0, 0)
    assert entry.selected(*selection, prefix=False) == selected


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("/caf\u00e9", "/caf%c3%a9"),
        ("/caf\u00e9", "/caf\u00e9"),
        ("/?f[a]=1", "/?f[a]=1"),
        ("/?f[a]=1", "/?f%5Ba%5d=1"),
        ("/{a|b}", "/{a|b}"),
        ("/~jane", "/%7Ejane"),
        ("/a%2fb", "/a%2Fb"),
        ("/news", "/%6eews?page=2"),
        ("/100%", "/100%"),
    ],
)
def test_a_response_is_selected_however_its_client_has_spelled_the_path(typed: str, stored: str) -> None:
    wanted = cache.purge(parse(ROUTES), typed, "", everything=False)
    entry = cache_files.Entry("web", "shop.example", stored, 0, 0)
    assert entry.selected(wanted.routes, wanted.name, wanted.path, prefix=False)


@pytest.mark.parametrize(("typed", "stored"), [("/a/b", "/a%2Fb"), ("/a?b", "/a%3Fb"), ("/a", "/a%3Fb"), ("/a", "/A")])
def test_an_escaped_delimiter_is_another_path(typed: str, stored: str) -> None:
    assert not cache_files.Entry("web", "shop.example", stored, 0, 0).selected((), "", typed, prefix=False)


def test_requests_are_counted_across_a_rotation_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text('1 "before" service=web cache=HIT\n')
    log = cache_log.Log(path)
    with path.open("a") as file:
        file.write('1 "service=web cache=HIT" service=web.once cache=BYPASS\n2 service=web cache=HIT\n3 service=w')
        file.flush()
        assert log.added() == {("web", "bypass"): 1, ("web", "hit"): 1}
        path.rename(tmp_path / "access.log.1")
        file.write("eb cache=UPDATING\n4 service=- cache=-\n")
    path.write_text("5 service=web cache=EXPIRED\n")
    assert log.added() == {("web", "stale"): 1, ("web", "miss"): 1}
    assert log.added() == {}


def test_the_metrics_name_every_result_of_every_service() -> None:
    text = cache_log.metrics(
        {("web", "hit"): 2, ("web-ws", "hit"): 1, ("x", "hit"): 9}, {"web": "web", "web-ws": "web"}, 5, 9
    )
    assert 'plainstack_cache_requests_total{service="web",result="hit"} 3\n' in text
    assert 'plainstack_cache_requests_total{service="web",result="bypass"} 0\n' in text
    assert "plainstack_cache_bytes 5\n" in text
