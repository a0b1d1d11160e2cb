"""One bad response fails one request: a real nginx, configured as on a balancer, before a misbehaving service."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plainstack.drill.load import Site
from tests import inventories
from tests.unit.roles.real_nginx import Edge, running

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
services:
  web:
    kind: binary
    source: "."
    routes: [{path: /, timeout: 60}, /brief/]
    processes: {web: {command: run, port: 8000, health: /, timeout: 1}}
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer that waits a second for a response below /brief/, and two hosts."""
    stack = inventories.parse(TEXT, "hosts.yaml", Path.cwd())
    with running(stack, tmp_path_factory.mktemp("edge")) as started:
        yield started


@pytest.mark.parametrize(
    ("path", "status", "count"),
    [
        ("cookies-5", "200", 10),
        ("cookies-30", "200", 10),
        ("cookies-40", "502", 10),
        ("crash", "500", 10),
        ("cut", "200", 10),
        ("broken", "502", 10),
        ("nonsense", "502", 10),
        ("brief/slow-30", "504", 50),
    ],
)
def test_a_bad_answer_fails_its_own_request_only(edge: Edge, path: str, status: str, count: int) -> None:
    """Answers with up to 32 KB of headers are good ones. Slow requests wait while others are answered."""
    site = Site("127.0.0.1", "shop.example", ssl._create_unverified_context(), "/", port=edge.port)
    with ThreadPoolExecutor(count) as bad, ThreadPoolExecutor(4) as others:
        seen = bad.map(lambda _: edge.status(f"https://shop.example/{path}"), range(count))
        fine = Counter(others.map(site.get, range(100)))
        assert Counter(seen) == {status: count}
    assert fine == {"ok": 100}
    assert site.get(0) == "ok"
