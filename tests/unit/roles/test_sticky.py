"""Routes that send a visitor to the same host again, and compression by Brotli, through a real nginx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import inventories
from tests.unit.roles.real_nginx import Edge, running

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
  app3: {address: 10.0.0.5, roles: [app]}
balancer: {server_names: [shop.example], brotli: true}
services:
  web:
    kind: binary
    source: "."
    routes: [/, {path: /chat/, sticky: cookie}, {path: /poll/, sticky: address}]
    processes: {web: {command: run, port: 8000, health: /}}
"""
SHOP = "https://shop.example"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer of three application hosts."""
    stack = inventories.parse(TEXT, "hosts.yaml", Path.cwd())
    with running(stack, tmp_path_factory.mktemp("edge")) as started:
        yield started


def host(edge: Edge, url: str, *options: str) -> str:
    """Return the host that answers a request."""
    return edge.curl(url, *options)[1].partition("x-host: ")[2].partition("\r")[0]


def visitor(edge: Edge) -> tuple[str, str]:
    """Return the cookie of a new visitor, and the host that answered."""
    _, headers, _ = edge.curl(f"{SHOP}/chat/")
    (cookie,) = re.findall(r"set-cookie: (sticky=[0-9a-f]{32}); path=/; secure; httponly; samesite=lax", headers)
    return cookie, headers.partition("x-host: ")[2].partition("\r")[0]


def test_a_visitor_with_the_cookie_gets_the_same_host_and_visitors_are_spread(edge: Edge) -> None:
    # Chance puts none of them on one of the hosts once in some million runs.
    visitors = [visitor(edge) for _ in range(40)]
    assert {first for _, first in visitors} == {"app1", "app2", "app3"}
    for cookie, first in visitors[:4]:
        for options in ((), ("-H", "Accept: text/event-stream"), ("-d", "x=1")):
            _, headers, _ = edge.curl(f"{SHOP}/chat/", "-b", cookie, *options)
            assert f"x-host: {first}\r" in headers
            assert "set-cookie" not in headers
            assert "x-content-type-options: nosniff" in headers
    assert "set-cookie" not in edge.curl(f"{SHOP}/")[1]


def test_an_address_gets_the_same_host_without_a_cookie(edge: Edge) -> None:
    assert len({host(edge, f"{SHOP}/poll/") for _ in range(6)}) == 1
    assert len({host(edge, f"{SHOP}/") for _ in range(6)}) == 3
    assert "set-cookie" not in edge.curl(f"{SHOP}/poll/")[1]


def test_only_the_visitors_of_a_drained_host_move_and_they_come_back(edge: Edge) -> None:
    visitors = [visitor(edge) for _ in range(12)]
    server = edge.folder / "run/plainstack/upstreams/10.0.0.4:8000.conf"
    used = server.read_text()
    server.write_text(used.replace(";", " down;"))
    edge.reload()
    moved = {cookie: host(edge, f"{SHOP}/chat/", "-b", cookie) for cookie, _ in visitors}
    assert all(moved[cookie] == first for cookie, first in visitors if first != "app2")
    assert "app2" not in moved.values()
    server.write_text(used)
    edge.reload()
    assert all(host(edge, f"{SHOP}/chat/", "-b", cookie) == first for cookie, first in visitors)


@pytest.mark.parametrize(("accept", "encoding"), [("gzip, br", "br"), ("gzip", "gzip"), ("identity", "")])
def test_text_is_compressed_as_the_client_accepts(edge: Edge, accept: str, encoding: str) -> None:
    _, headers, _ = edge.curl(f"{SHOP}/text-500", "-H", f"Accept-Encoding: {accept}", "-o", "/dev/null", "-D", "-")
    assert headers.partition("content-encoding: ")[2].partition("\r")[0] == encoding
