"""Whom a limit counts as one client: an IPv4 address, or the /64 of an IPv6 address, through a real nginx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories
from tests.unit.roles.balancer_files import SITE, text
from tests.unit.roles.real_nginx import Edge, running

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]EXTRA}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example], connections: 5}
services:
  web:
    kind: binary
    source: "."
    routes: [/, {path: /login/, limit: {rate: 1/m, burst: 0}}, {path: /wait/, limit: {connections: 2}}]
    processes: {web: {command: run, port: 8000, health: /}}
"""
IPV6 = ", public: 192.0.2.1, public6: '2001:db8::1'"
SHOP = "https://shop.example"
# The address of the client is the one in a header, as behind a service that protects the site from attacks.
OWN = """\
set_real_ip_from 127.0.0.1;
real_ip_header X-Client;
location ~ ^/old/(.*)$ {
    proxy_pass http://web/new/$1;
}
"""


def parse(folder: Path, extra: str = IPV6) -> Stack:
    (folder / "nginx/any.d").mkdir(parents=True)
    (folder / "nginx/any.d/own.conf").write_text(OWN)
    return inventories.parse(TEXT.replace("EXTRA", extra), "hosts.yaml", folder)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer that IPv6 clients reach."""
    with running(parse(tmp_path_factory.mktemp("stack")), tmp_path_factory.mktemp("edge")) as started:
        yield started


def statuses(edge: Edge, *clients: str) -> list[str]:
    """Return the statuses of requests from these addresses to a route that lets a client have one in a minute."""
    return [edge.status(f"{SHOP}/login/", "-H", f"X-Client: {client}") for client in clients]


@pytest.mark.programs
def test_all_addresses_of_a_64_are_one_client(edge: Edge) -> None:
    assert statuses(edge, "2001:db8:0:1::1", "2001:db8:0:1:a:b:c:d", "2001:db8:0:2::1") == ["200", "429", "200"]
    # Bytes that end a line or a string are bytes like any other.
    assert statuses(edge, "2001:db8:0:a0a::a", "2001:db8:0:a0a:a0a:d0d::", "2001:db8:0:a0d::a") == ["200", "429", "200"]
    assert statuses(edge, "::1", "::2") == ["200", "429"]


@pytest.mark.programs
def test_each_ipv4_address_is_a_client(edge: Edge) -> None:
    assert statuses(edge, "192.0.2.10", "192.0.2.11", "192.0.2.10") == ["200", "200", "429"]
    assert statuses(edge, "::ffff:198.51.100.1", "::ffff:198.51.100.2", "::ffff:198.51.100.1") == ["200", "200", "429"]


@pytest.mark.programs
@pytest.mark.parametrize(("path", "count"), [("/", 5), ("/wait/", 2)])
def test_requests_in_progress_are_counted_for_the_whole_64(edge: Edge, path: str, count: int) -> None:
    asked = ("-H", "X-Client: 2001:db8:0:3::9")
    with edge.holding(f"{SHOP}{path}", count, "-H", "X-Client: 2001:db8:0:3::1"):
        assert edge.status(f"{SHOP}{path}", *asked) == "429"
        assert edge.status(f"{SHOP}{path}", "-H", "X-Client: 2001:db8:0:4::1") == "200"
    assert edge.status(f"{SHOP}{path}", *asked) == "200"


@pytest.mark.programs
def test_a_location_of_the_stacks_own_keeps_what_it_has_captured(edge: Edge) -> None:
    for client in ("2001:db8:0:5::1", "192.0.2.12"):
        assert edge.curl(f"{SHOP}/old/echo", "-H", f"X-Client: {client}")[2].startswith("GET /new/echo HTTP")


@pytest.mark.parametrize(
    ("extra", "key", "zone"),
    [
        ("", "$binary_remote_addr", ""),
        (", public: 192.0.2.1", "$binary_remote_addr", ""),
        (IPV6, "$client_network", ".networks"),
    ],
)
def test_only_a_stack_with_ipv6_clients_looks_for_networks(tmp_path: Path, extra: str, key: str, zone: str) -> None:
    stack = parse(tmp_path, extra)
    vault = Vault({}, {"site": Certificate("chain", Secret("site.key", "key"))}, "authority\n")
    main, site = text(stack, vault, "/etc/nginx/nginx.conf"), text(stack, vault, SITE)
    assert f"limit_conn_zone {key} zone=addresses{zone}:10m;" in main
    assert f"limit_req_zone {key} zone=rate." in site
    assert f"limit_conn_zone {key} zone=open." in site
    assert ("client_network" in main + site) == (key == "$client_network")
