"""Tunnels through a real sshd on loopback: they survive a lost connection, and use another host when one is down."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import ClassVar

import pytest
from invoke.program import Program

from plainstack.cli.help import name_word
from plainstack.deploy import pages
from plainstack.errors import Refused
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import Target
from plainstack.roles import registry
from plainstack.services.edge import Balancer
from plainstack.ssh import connections
from plainstack.ssh.connections import Sessions
from plainstack.ssh.tunnel import Way, parse
from tests import sshd
from tests.waiting import PATIENCE

pytestmark = sshd.needed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    with sshd.serving(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def page() -> Iterator[int]:
    """Yield the port of a page that greets every client."""
    listener = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.sendall(b"hello")
            client.close()

    thread = threading.Thread(target=greet)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(PATIENCE)


@pytest.fixture
def sessions(server: sshd.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """Yield sessions of a stack whose lb2 answers, while nothing listens at lb1's address."""
    folder = tmp_path_factory.mktemp("stack")
    one = server.stack(folder)
    addresses = {f"lb{number}": IPv4Address(f"127.0.0.{3 - number}") for number in (1, 2)}
    hosts = {name: Host(name=name, address=IPv4Address("10.0.0.1")) for name in addresses}
    stack = sshd.at(one.model_copy(update={"hosts": hosts}), addresses)
    connections.known_hosts(stack).write_text(server.pin, encoding="utf-8")
    with Sessions(stack) as opened:
        yield opened


def targets(stack: Stack) -> list[Target]:
    return pages.targets(stack, registry())


def read(way: Way) -> bytes:
    channel = way.open()
    channel.settimeout(PATIENCE)
    return channel.recv(100)


def to(port: int, *via: str) -> Target:
    return Target("site", "http", via, ("127.0.0.1",), port)


@pytest.mark.programs
def test_a_host_that_is_down_is_skipped(sessions: Sessions, page: int) -> None:
    assert read(Way(sessions, to(page, "lb1", "lb2"))) == b"hello"


@pytest.mark.programs
def test_a_lost_connection_is_reopened(sessions: Sessions, page: int) -> None:
    way = Way(sessions, to(page, "lb2"))
    assert read(way) == b"hello"
    sessions.to("lb2").close()
    assert read(way) == b"hello"


@pytest.mark.programs
def test_a_missing_page_is_reported_and_the_connection_stays_open(sessions: Sessions) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(Refused, match=f"lb2: nothing answers at 127.0.0.1:{port}"):
            Way(sessions, to(port, "lb2")).open()
    assert sessions.to("lb2").alive


@pytest.mark.programs
def test_if_no_host_is_up_every_one_is_named_with_its_reason(sessions: Sessions, page: int) -> None:
    with pytest.raises(Refused, match="lb1: connect: the connection was refused"):
        Way(sessions, to(page, "lb1")).open()


def test_the_tunnel_uses_any_balancer_for_a_virtual_address_and_otherwise_the_first_one(stack: Stack) -> None:
    assert (targets(stack)[0].name, targets(stack)[0].via) == ("site", ("lb1", "lb2"))
    fixed = stack.model_copy(update={"balancer": stack.settings(Balancer).model_copy(update={"virtual_address": None})})
    site = targets(fixed)[0]
    assert (site.via, site.addresses) == (("lb1",), (str(stack.hosts["lb1"].address),))


@pytest.mark.parametrize("names", [("shop.example",), ("*.shop.example",)])
def test_a_site_with_names_is_shown_with_a_local_name_that_leads_to_it(stack: Stack, names: tuple[str, ...]) -> None:
    """The balancers of a site with names refuse requests for 127.0.0.1."""
    named = stack.model_copy(update={"balancer": stack.settings(Balancer).model_copy(update={"server_names": names})})
    name = names[0].replace("*", "www")
    reported = targets(named)[0].instructions(8443)
    assert reported[0].split()[:2] == ["site", f"https://{name}:8443/"]
    assert f"'127.0.0.1 {name}' in /etc/hosts" in reported[1]
    assert reported[2].endswith(f"curl --connect-to ::127.0.0.1: https://{name}:8443/")


def test_a_site_without_names_is_shown_at_loopback(stack: Stack) -> None:
    assert [line.split()[:2] for line in targets(stack)[0].instructions(8443)] == [["site", "https://127.0.0.1:8443/"]]


def test_every_page_is_shown_with_a_description(stack: Stack) -> None:
    shown = [line for target in targets(stack) for line in target.instructions(target.preferred)]
    urls = [url for target in targets(stack) for url in target.urls(target.preferred)]
    assert len(shown) == len(urls) > 3
    for line, url in zip(shown, urls, strict=True):
        assert len(line.partition(f"{url} ")[2].split()) >= 4


@pytest.mark.programs
def test_a_port_on_loopback_or_only_on_the_hosts_own_address_is_reached(sessions: Sessions, page: int) -> None:
    for addresses in (("127.0.0.1", "127.0.0.9"), ("127.0.0.9", "127.0.0.1")):
        assert read(Way(sessions, Target("it", "", ("lb2",), addresses, page))) == b"hello"


@pytest.mark.parametrize(("to", "host", "port"), [("db1:5432", "", ""), ("", "db1", "5432")])
def test_any_port_of_a_host_can_be_named(stack: Stack, to: str, host: str, port: str) -> None:
    target = parse(stack, to, host, port)
    assert target
    assert (target.via, target.port, target.preferred) == (("db1",), 5432, 5432)
    assert target.instructions(5432) == ["db1:5432      127.0.0.1:5432"]


@pytest.mark.parametrize(
    ("to", "host", "port", "reason"),
    [
        ("db9:5432", "", "", "db9: not a host of this stack. Its hosts: lb1, "),
        ("db1:", "", "", "the port is missing"),
        (":5432", "", "", "the host is missing"),
        ("db1:0", "", "", "0: not a port"),
        ("db1:65536", "", "", "65536: not a port"),
        ("db1:ssh", "", "", "ssh: not a port"),
        ("db1:٣", "", "", "٣: not a port"),
        ("", "db1", "", "the port is missing"),
        ("", "", "5432", "the host is missing"),
        ("db1:5432", "db1", "", "name the port only once"),
    ],
)
def test_an_invalid_port_of_a_host_is_refused(stack: Stack, to: str, host: str, port: str, reason: str) -> None:
    with pytest.raises(Refused, match=f"^{re.escape(reason)}"):
        parse(stack, to, host, port)


def test_a_word_with_a_colon_is_the_port_to_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        unparsed: ClassVar = ["tunnel", "db1:5432", "-i", "a:b.yaml"]

    program = Program()
    monkeypatch.setattr(program, "core", Core, raising=False)
    name_word(program, "tunnel", "to")
    assert Core.unparsed == ["tunnel", "--to=db1:5432", "-i", "a:b.yaml"]


def test_examples_show_how_to_reach_other_ports(stack: Stack) -> None:
    assert pages.others(stack, registry()) == (
        "any other port: inv tunnel HOST:PORT (db1:5432, app1:8000, lb1:8081, mon1:9093)"
    )
