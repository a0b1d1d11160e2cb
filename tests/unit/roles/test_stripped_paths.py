"""What an application gets of a path of which its route removes the beginning, through a real nginx."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests import inventories
from tests.unit.roles.real_nginx import Edge, running
from tests.waiting import until

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
balancer: {server_names: [shop.example]}
services:
  web:
    kind: binary
    source: "."
    routes:
      - /
      - {path: /raw/, strip: true}
      - {path: /raw/closed/, strip: true, users: [jane]}
      - {path: /raw/far/, strip: true, allow: [192.0.2.0/24]}
      - {path: /raw/few/, strip: true, limit: {rate: 1/m, burst: 0}}
      - {path: /own/, strip: true, snippet: nginx/own.conf}
      - {path: /chat/, strip: true, sticky: cookie}
      - {path: /kept/, strip: true, cache: {ttl: 1s, stale: 1h}}
    processes: {web: {command: run, port: 8000, health: /up}}
"""
ANY = """\
rewrite ^/raw/old/(.*)$ /raw/new/$1;
if ($arg_secret) {
    set $args "";
}
location /raw/moved/ {
    rewrite ^/raw/moved/(.*)$ /raw/there/$1 last;
}
location = /raw/missing {
    error_page 404 = /raw/found/echo;
    return 404;
}
"""
OWN = """\
proxy_set_header X-Own yes;
limit_except GET {
    deny all;
}
"""
SHOP = "https://shop.example"
ACCEPTS = ("text/html", "text/event-stream")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer with routes that remove their paths, and rules of the stack's own that lead to them."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "nginx/any.d").mkdir(parents=True)
    (folder / "nginx/any.d/rules.conf").write_text(ANY)
    (folder / "nginx/own.conf").write_text(OWN)
    stack = inventories.parse(TEXT, "hosts.yaml", folder)
    with running(stack, tmp_path_factory.mktemp("edge"), {"balancer/users/jane": "secret"}) as started:
        yield started


def got(edge: Edge, target: str, *lines: str) -> str:
    """Return the target that the application gets if a client sends this one, or the status without an application."""
    head = [f"GET {target} HTTP/1.1", "Host: shop.example", "Connection: close", *lines]
    response = edge.says("\r\n".join([*head, "", ""]).encode())
    found = re.search(r"GET (\S+) HTTP/1[.]", response)
    return found[1] if found else response.split()[1]


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize(
    "rest",
    [
        "/api/queues/%2F/echo",
        "/%2F/echo",
        "/go/https://x//echo",
        "/https://x/echo?to=//y&x=%2F%20+a",
        "/a%20b%41%c3%a4/%252e%252e/~%7e/echo",
        "/raw/echo",
        "/closed%252f/echo",
        "/echo?",
        "/echo?a?b",
    ],
)
def test_the_rest_of_the_path_arrives_as_the_client_sent_it(edge: Edge, rest: str, accept: str) -> None:
    for route in ("/raw", "/own", "/chat"):
        assert got(edge, f"{route}{rest}", f"Accept: {accept}") == rest
    assert got(edge, f"/kept{rest}", f"Accept: {accept}") == rest


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        # The path of the route is written in another way.
        ("//raw/a%2Fb/echo", "/a/b/echo"),
        ("/%72aw/a%2Fb/echo?x=%2F", "/a/b/echo?x=%2F"),
        ("/raw%2Fa%2Fb//echo", "/a/b/echo"),
        ("//raw//raw/a%2Fecho", "/raw/a/echo"),
        ("https://shop.example/raw/a%2Fb//echo", "/a%2Fb//echo"),
        # Two slashes at the beginning would be followed by the name of a host.
        ("/raw//other.example//echo", "/other.example/echo"),
        ("/raw///echo", "/echo"),
        # Nothing after this character belongs to a request.
        ("/raw/a%2Fb/echo#x", "/a/b/echo"),
        ("/x/../raw/echo", "400"),
        ("/raw/x/%2e%2e/echo", "400"),
        ("/raw/..%2fecho", "400"),
        # Rules of the stack's own have precedence over what the client has sent.
        ("/raw/old/a%2Fb/echo", "/new/a/b/echo"),
        ("/raw/moved/a%2Fb/echo", "/there/a/b/echo"),
        ("/raw/a%2Fb/echo?secret=1", "/a/b/echo"),
        # So has an application that sends the request to another path.
        ("/raw/told?X-Accel-Redirect=/raw/b/echo", "/b/echo"),
        ("/raw/told?X-Accel-Redirect=/own/b/echo", "/b/echo"),
        ("/told?X-Accel-Redirect=/raw/b/echo", "/b/echo"),
        ("/raw/told?X-Accel-Redirect=/b/echo", "/b/echo"),
    ],
)
def test_another_way_to_the_route_gives_the_decoded_rest(edge: Edge, sent: str, arrives: str, accept: str) -> None:
    assert got(edge, sent, f"Accept: {accept}") == arrives


def test_a_page_for_an_error_is_requested_with_its_own_path(edge: Edge) -> None:
    assert got(edge, "/raw/missing") == "/found/echo"


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("between", ["/", "//", "/%2F", "%2F", "%2F/"])
def test_no_way_to_write_a_path_avoids_the_rules_of_its_route(edge: Edge, between: str, accept: str) -> None:
    for closed, name, status in (("closed", "%63losed", "401"), ("far", "f%61r", "403")):
        for written in (closed, name):
            for end in ("/", "//", "%2F"):
                assert got(edge, f"/raw{between}{written}{end}echo", f"Accept: {accept}") == status
    assert got(edge, f"/raw{between}closed{between}echo", "Authorization: Basic amFuZTpzZWNyZXQ=") == "/echo"


def test_a_limit_counts_every_way_to_write_a_path(edge: Edge) -> None:
    assert got(edge, "/raw/few/a%2Fb/echo") == "/a%2Fb/echo"
    for path in ("/raw/few/echo", "/raw//few/echo", "/raw/%66ew/a%2Fb/echo"):
        assert got(edge, path) == "429"


def test_all_that_a_snippet_says_applies(edge: Edge) -> None:
    assert "X-Own: yes" in edge.curl(f"{SHOP}/own/a%2Fb/echo")[2]
    assert edge.status(f"{SHOP}/own/a%2Fb/echo", "-d", "x") == "403"


def test_a_post_is_not_sent_over_a_kept_connection(edge: Edge) -> None:
    assert edge.status(f"{SHOP}/raw/a%2Fb/once", "-d", "x") == "200"
    log = edge.folder / "var/log/nginx/access.log"
    until(lambda: "/b/once HTTP" in log.read_text().replace("%2F", "/"), "the request in the log")
    (line,) = [line for line in log.read_text().splitlines() if "b/once HTTP" in line]
    assert "service=web.once" in line


def test_a_visitor_returns_to_the_same_host(edge: Edge) -> None:
    headers = edge.curl(f"{SHOP}/chat/a%2Fb/echo")[1]
    cookie = headers.partition("set-cookie: ")[2].partition(";")[0]
    host = headers.partition("x-host: ")[2].partition("\r")[0]
    for _ in range(4):
        assert f"x-host: {host}\r\n" in edge.curl(f"{SHOP}/chat/a%2F/b//echo", "-b", cookie)[1]


def test_a_websocket_is_opened(edge: Edge) -> None:
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    headers = [word for line in lines for word in ("-H", line)]
    assert edge.status(f"{SHOP}/raw/a%2F/b/socket", *headers, "--http1.1", "-m", "2") == "101"


def test_each_way_to_write_a_path_has_a_response_of_its_own_in_the_cache(edge: Edge) -> None:
    """One that is fetched anew after it has become old is asked for with the same path."""

    def kept(path: str) -> tuple[str, str]:
        _, headers, body = edge.curl(f"{SHOP}{path}")
        return headers.partition("x-cache-status: ")[2].partition("\r")[0], body

    paths = {"/kept/a%2Fb/told": "/a%2Fb/told", "/kept/a/b/told": "/a/b/told", "/kept/a//b/told": "/a//b/told"}
    first = {path: kept(path) for path in paths}
    assert {status for status, _ in first.values()} == {"miss"}
    for path, rest in paths.items():
        assert f" GET {rest} HTTP" in first[path][1]
        until(lambda path=path: kept(path)[0] == "stale", "the response is old")  # type: ignore[misc]
        until(lambda path=path: kept(path)[1] != first[path][1], "the response is fetched anew")  # type: ignore[misc]
        assert f" GET {rest} HTTP" in kept(path)[1]
