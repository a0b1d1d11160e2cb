"""Names, paths, networks and headers in other forms than the balancers can serve: what is said about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from tests import inventories

TEXT = """\
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {BALANCER}
services:
  web:
    {kind: binary, source: ., routes: [/, {path: /x/, ROUTE}], processes: {web: {command: run, port: 8000, health: /}}}
"""
NAMED = "server_names: [shop.example]"


def said(balancer: str = NAMED, route: str = "") -> str:
    """Return the problems of an inventory; empty if it is accepted."""
    text = TEXT.replace("BALANCER", balancer).replace("ROUTE", route).replace("path: /x/, path", "path")
    try:
        inventories.parse(text, "hosts.yaml", Path.cwd())
    except InventoryError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("Shop.Example", "; write shop.example"),
        ("shop.example.", "; write shop.example"),
        ("shop.example:8443", "; write shop.example"),
        ("https://shop.example/", "; write shop.example"),
        ("*.Shop.Example", "; write *.shop.example"),
        ("bücher.example", "; write xn--bcher-kva.example"),
        ("shop..example", ""),
        ("shop.-x.example", ""),
        ("a.b-.example", ""),
        ("*", ""),
        ("a.*.example", ""),
        ("*.*.example", ""),
    ],
)
def test_a_name_in_another_form_is_refused_with_what_to_write(name: str, suggested: str) -> None:
    wanted = "balancer.server_names.0: must be a name such as shop.example or *.shop.example, in lower case"
    assert said(f"server_names: ['{name}']") == f"hosts.yaml:5: {wanted}{suggested} (given: '{name}')"


def test_a_name_has_the_lengths_of_dns() -> None:
    assert said(f"server_names: [{'x' * 63}.example]") == ""
    for name in (f"{'x' * 64}.example", ".".join(["x" * 60] * 5)):
        assert "must be a name with at most 63 characters between two dots, and 253 in all" in said(
            f"server_names: [{name}]"
        )


@pytest.mark.parametrize("path", ["/../", "/./", "/a/../b/", "/a/./"])
def test_a_path_that_no_request_has_is_refused_everywhere(path: str) -> None:
    wanted = "must be a path without '//', '/./' and '/../', which clients and servers resolve"
    assert f"services.web.routes.1.path: {wanted}" in said(route=f"path: {path}")
    assert f"balancer.redirects.0.path: {wanted}" in said(f"{NAMED}, redirects: [{{path: {path}, to: /y}}]")
    assert f"balancer.files.'{path}x': {wanted}" in said(f"{NAMED}, files: {{{path}x: hosts.yaml}}")


@pytest.mark.parametrize("path", ["/plainstack-maintenance/", "/plainstack-unavailable.html/"])
def test_the_balancers_own_paths_are_reserved(path: str) -> None:
    wanted = "paths that begin with /plainstack- are reserved; choose another path"
    assert f"services.web.routes.1: {wanted}" in said(route=f"path: {path}")
    assert f"balancer.redirects.0: {wanted}" in said(f"{NAMED}, redirects: [{{path: {path}, to: /y}}]")
    assert f"balancer.files.{path[:-1]}: {wanted}" in said(f"{NAMED}, files: {{{path[:-1]}: hosts.yaml}}").replace(
        "'", ""
    )


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("allow: ['fe80::1%eth0']", "allow.0: must be an IPv4 network or an IPv6 network"),
        ("allow: ['::ffff:10.0.0.0/120']", "allow.0: must be an IPv4 network or an IPv6 network: write 10.0.0.0/24"),
        ("allow: []", "allow: must be a list of at least one. Without the key, everyone has access"),
        ("users: []", "users: must be a list of at least one. Without the key, everyone has access"),
        ("limit: {rate: 10}", "limit.rate: must be a number per second or minute, such as 10/s or 100/m (given: 10)"),
        ("max_body: 10", "max_body: must be a size in megabytes or gigabytes, such as 512M or 2G (given: 10)"),
        ("headers: {X-A: 5}", "headers.X-A: must be printable ASCII text on one line, without '$', and in quotes if"),
        ("headers: {X-A: 'a '}", "headers.X-A: must be text without spaces at its beginning and its end"),
        ("headers: {X-A: a, x-a: b}", "headers: must be a mapping with each header once: x-a and X-A are the same"),
        (
            "headers: {content-length: '5'}",
            "content-length: must be another header: the web server sets content-length",
        ),
        ("headers: {Connection: close}", "headers.Connection: must be another header: the web server sets Connection"),
        ("path: /, strip: true", "strip: the path of the route is /, so there is nothing to remove. Remove this key"),
    ],
)
def test_a_setting_of_a_route_is_refused(route: str, problem: str) -> None:
    assert f"hosts.yaml:8: services.web.routes.1.{problem}" in said(route=route).replace("headers.content", "content")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("https://Other.example/", "must be a URL with a name in lower case: other.example"),
        ("https://x.example:99999/", "must be a URL with a port from 1 to 65535"),
        ("//x.example/", "must be a path with one '/' at its beginning, or a URL such as https://x.example/"),
        ("https://x.example/?a=b", "must be a path, or a URL that begins with http:// or https://, without a query"),
        ("/%zz", "must be a path in which every '%' has two hexadecimal digits, such as %20"),
        ("https://...", "must be a URL with a name in lower case"),
    ],
)
def test_a_target_that_no_browser_could_follow_is_refused(target: str, problem: str) -> None:
    assert f"balancer.redirects.0.to: {problem}" in said(f"{NAMED}, redirects: [{{path: /y, to: '{target}'}}]")


@pytest.mark.parametrize(
    "key", ["redirects: [{path: /up, to: /y}]", "files: {/up: hosts.yaml}", "files: {/up: hosts.yaml}, http3: false"]
)
def test_nothing_else_answers_in_place_of_a_health_page(key: str) -> None:
    text = TEXT.replace("BALANCER", f"{NAMED}, {key}").replace(", ROUTE", "").replace("health: /", "health: /up")
    with pytest.raises(
        InventoryError, match=r"/up is the health page of services\.web, which monitoring and deploys req"
    ):
        inventories.parse(text, "hosts.yaml", Path.cwd())
    api = "  api: {kind: binary, source: ., path: /up/, processes: {web: {command: run, port: 8001, health: /x}}}\n"
    both = TEXT.replace("BALANCER", NAMED).replace(", ROUTE", "").replace("health: /", "health: /up/x") + api
    with pytest.raises(
        InventoryError, match=r"web\.health: /up/x is also the health page of services\.api\. Choose another"
    ):
        inventories.parse(both, "hosts.yaml", Path.cwd())
