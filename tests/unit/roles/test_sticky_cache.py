"""Routes with a cache beside, or together with, those that send a visitor to the same host again, with a real nginx."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cache_log
import pytest

from tests import inventories
from tests.unit.roles.real_nginx import Edge, placed, running, said_by_nginx
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
      - {path: /, cache: {ttl: 1h}}
      - {path: /chat/, sticky: cookie}
      - {path: /room/, sticky: cookie, cache: {ttl: 1h}}
      - {path: /poll/, sticky: address, cache: {ttl: 1h}}
    processes: {web: {command: run, port: 8000, health: /up}}
"""
SHOP = "https://shop.example"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer of two application hosts."""
    stack = inventories.parse(TEXT, "hosts.yaml", Path.cwd())
    with running(stack, tmp_path_factory.mktemp("edge")) as started:
        yield started


def found(edge: Edge, path: str, *options: str) -> str:
    """Return what the cache did with a request."""
    return edge.curl(f"{SHOP}{path}", *options)[1].partition("x-cache-status: ")[2].partition("\r")[0]


def test_requests_to_sticky_routes_are_counted(edge: Edge) -> None:
    log = cache_log.Log(edge.folder / "var/log/nginx/access.log")
    for path in ("/told?count", "/room/told?count", "/poll/told?count"):
        assert [found(edge, path) for _ in range(2)] == ["miss", "hit"]
        assert found(edge, path, "-X", "POST", "--http1.1", "-d", "x") == ""
        assert found(edge, path, "-b", "a=b") == "bypass"
    counts: Counter[tuple[str, str]] = Counter()

    def counted() -> bool:
        counts.update(log.added())
        return counts.total() == 9

    until(counted, "the lines of the requests")
    services = json.loads((edge.folder / "etc/plainstack/balancer/cache.json").read_text())["services"]
    text = cache_log.metrics(counts, services, 0, 0)
    for result in ("hit", "miss", "bypass"):
        assert f'plainstack_cache_requests_total{{service="web",result="{result}"}} 3\n' in text


def visitor(edge: Edge) -> str:
    """Return the cookie of a new visitor of a sticky route."""
    headers = edge.curl(f"{SHOP}/chat/")[1]
    found = re.search(r"set-cookie: (sticky=[0-9a-f]{32});", headers)
    assert found, headers
    return found[1]


@pytest.mark.parametrize("path", ["/told?visitor", "/room/told?visitor", "/poll/told?visitor"])
def test_the_cookie_of_a_sticky_route_leaves_the_cache_in_use(edge: Edge, path: str) -> None:
    cookie = visitor(edge)
    assert [found(edge, path, "-b", cookie) for _ in range(2)] == ["miss", "hit"]
    assert found(edge, path, "-b", visitor(edge)) == "hit"
    assert found(edge, path) == "hit"
    for others in ("a=b", f"a=b; {cookie}", f"{cookie}; a=b", f"x{cookie}", f"{cookie}0", "sticky=own", f"{cookie};a"):
        assert found(edge, path, "-b", others) == "bypass", others
    assert found(edge, path, "-H", f"Cookie: {cookie}", "-H", "Cookie: a=b") == "bypass"
    assert found(edge, path, "-b", cookie, "-H", "Authorization: Bearer x") == "bypass"
    assert found(edge, path, "-b", cookie) == "hit"


def test_a_response_that_sets_a_cookie_is_not_kept_for_visitors_of_a_sticky_route(edge: Edge) -> None:
    assert [found(edge, "/told?Set-Cookie=a%3Db", "-b", visitor(edge)) for _ in range(2)] == ["miss", "miss"]


def test_each_new_visitor_of_a_kept_page_gets_a_cookie_of_their_own(edge: Edge) -> None:
    heads = [edge.curl(f"{SHOP}/room/told?new")[1] for _ in range(3)]
    assert ["x-cache-status: hit" in head for head in heads] == [False, True, True]
    assert len({cookie for head in heads for cookie in re.findall("set-cookie: sticky=[0-9a-f]+", head)}) == 3


@pytest.mark.parametrize(
    ("old", "new"), [("sticky: cookie", "sticky: address"), ("ttl: 1h", "ttl: 1h, bypass: ['cookie:a']"), ("", "")]
)
def test_the_cookie_has_a_line_in_the_configuration_only_if_it_is_needed(tmp_path: Path, old: str, new: str) -> None:
    edge = placed(inventories.parse(TEXT.replace(old, new), "hosts.yaml", Path.cwd()), tmp_path / "edge")
    assert said_by_nginx(edge) == ""
    texts = [path.read_text() for path in (edge.folder / "etc/nginx").rglob("*.conf")]
    assert any("$other_cookies" in text for text in texts) == (old == "")
