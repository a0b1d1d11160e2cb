"""Routes with a cache beside, or together with, those that send a visitor to the same host again, with a real nginx."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cache_log
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
