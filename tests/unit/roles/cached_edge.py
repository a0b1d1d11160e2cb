"""A balancer with a cache, in a real nginx, and one application."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from plainstack.inventory.stack import Stack
from tests import inventories
from tests.unit.roles.real_nginx import Edge, running

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer:
  server_names: [shop.example, www.shop.example]
services:
  web:
    kind: binary
    source: .
    routes:
      - {path: /, cache: {ttl: 1h}}
      - {path: /short/, cache: {ttl: 1s, stale: 1h}}
      - {path: /strict/, cache: {ttl: 1s, stale: 0}}
      - {path: /session/, cache: {ttl: 1h, bypass: ["cookie:__Host-session", authorization]}}
      - {path: /told-so/, cache: {ttl: 1h, bypass: [], methods: [GET]}}
      - {path: /headers/, cache: {ttl: 0}}
      - {path: /staff/, users: [jane], cache: {ttl: 1h}}
      - {path: /few/, limit: {rate: 1/m, burst: 1}, cache: {ttl: 1h}}
      - {path: /raw/, strip: true, cache: {ttl: 1s}}
      - {path: /plain/}
      - {path: /own/, cache: {ttl: 1h}, headers: {x-request-id: "1", Alt-Svc: clear, Vary: X-A, X-Cache-Status: none}}
    processes: {web: {command: run, port: 8000, health: /up}}
"""
SHOP = "https://shop.example"


def stack_with_cache() -> Stack:
    return inventories.parse(TEXT, "hosts.yaml", Path.cwd())


@contextlib.contextmanager
def caching(folder: Path) -> Iterator[Edge]:
    """Run the balancer and the application below a folder."""
    with running(stack_with_cache(), folder, {"balancer/users/jane": "secret"}) as started:
        yield started


def found(edge: Edge, path: str, *options: str) -> tuple[str, str]:
    """Return what the cache did with a request, and the body of the response."""
    _, headers, body = edge.curl(f"{SHOP}{path}", *options)
    return headers.partition("x-cache-status: ")[2].partition("\r")[0], body
