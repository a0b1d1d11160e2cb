"""What a balancer refuses before an application sees it: a real nginx with its configuration."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

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
services:
  web: {kind: binary, source: ".", processes: {web: {command: run, port: 8000, health: /}}}
balancer: {connections: 5}
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer that lets an address have five requests in progress."""
    stack = inventories.parse(TEXT, "hosts.yaml", Path.cwd())
    with running(stack, tmp_path_factory.mktemp("edge")) as started:
        yield started


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("GET / HTTP/1.1\nHost: shop.example", "200"),
        ("POST / HTTP/1.1\nHost: shop.example\nContent-Length: 6\nTransfer-Encoding: chunked", "400"),
        ("POST / HTTP/1.1\nHost: shop.example\nContent-Length: 6\nContent-Length: 5", "400"),
        ("POST / HTTP/1.1\nHost: shop.example\nTransfer-Encoding: xchunked", "501"),
        ("POST / HTTP/1.1\nHost: shop.example\nTransfer-Encoding: chunked\nTransfer-Encoding: identity", "400"),
        ("GET / HTTP/1.1\nHost: shop.example\nHost: other.example", "400"),
        ("GET / HTTP/1.1\nHost: shop.example\nX-Forwarded-For : 10.0.0.9", "400"),
        ("GET / HTTP/1.1", "400"),
    ],
)
def test_a_request_that_two_servers_could_read_differently_is_refused(edge: Edge, lines: str, status: str) -> None:
    text = lines.replace("\n", "\r\n").encode() + b"\r\nConnection: close\r\n\r\n0\r\n\r\n"
    assert edge.says(text).startswith(f"HTTP/1.1 {status} ")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/echo/../x", "400"),
        ("/echo/%2e%2e/x", "400"),
        ("/echo%2F..%2fx", "400"),
        ("/echo/./x", "400"),
        ("/echo/..", "400"),
        ("/echo/..x/.y/z..", "200"),
        ("/echo?next=/../x", "200"),
        ("/echo/..?x=1", "400"),
        ("/echo/%2e?", "400"),
        ("/echo%3f/../x?y=1", "400"),
        ("/%252e%252e/echo?x=1", "200"),
        ("//x/%20echo?", "200"),
    ],
)
def test_a_path_that_the_application_could_read_differently_is_refused(edge: Edge, path: str, status: str) -> None:
    assert edge.status(f"https://shop.example{path}", "--path-as-is") == status


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "10.0.0.1:8443", "shop.example", "shop.example:8443", "[2001:db8::1]:8443"]
)
def test_an_application_sees_the_port_that_a_visitor_typed(edge: Edge, host: str) -> None:
    assert f"\nHost: {host}\n" in edge.curl("https://shop.example/echo", "-H", f"Host: {host}")[2]


def test_headers_that_applications_confuse_with_the_balancers_are_dropped(edge: Edge) -> None:
    forged = ("X_Forwarded_For: 10.9.9.9", "X-Forwarded-Host: evil.example", "Forwarded: for=10.9.9.9")
    _, _, seen = edge.curl("https://shop.example/echo", *(word for each in forged for word in ("-H", each)))
    assert "10.9.9.9" not in seen
    assert "evil" not in seen


def test_responses_do_not_name_programs_or_versions(edge: Edge) -> None:
    _, headers, _ = edge.curl("https://shop.example/echo")
    assert "server: nginx\r\n" in headers
    assert "powered-by" not in headers


def test_one_address_cannot_occupy_all_connections(edge: Edge) -> None:
    with edge.holding("https://shop.example/", 5) as held:
        assert {edge.status("https://shop.example/") for _ in range(4)} == {"429"}
    assert {each.result() for each in held} == {"200"}
    assert edge.status("https://shop.example/") == "200"


def test_a_client_that_never_completes_its_request_is_cut_off(edge: Edge) -> None:
    """One goes on with its headers, a byte at a time, and one stops within the body. By default, nginx waits 60 s."""
    with edge.connected() as headers, edge.connected() as body:
        began = time.monotonic()
        headers.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Slow: ")
        body.sendall(b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 9\r\n\r\n1")
        took = {}
        for client, more in ((headers, b"a"), (body, b"")):
            client.settimeout(0.2)
            until(partial(_ended, client, more), "the balancer closes the connection")
            took[client] = time.monotonic() - began
    assert max(took.values()) < 50


def _ended(client: ssl.SSLSocket, more: bytes) -> bool:
    """Send more bytes, and return whether the balancer has closed the connection."""
    try:
        if more:
            client.sendall(more)
        return not client.recv(1000)
    except TimeoutError:
        return False
    except OSError:
        return True
