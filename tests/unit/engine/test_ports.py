"""Ports held by other programs: read from /proc by the real shell, checked before a deploy and by health gates."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from plainstack.engine import listeners, ports
from plainstack.engine.desired import assemble
from plainstack.engine.observed import Entry, Listener, Observed, UnitState
from plainstack.engine.resources import File, Listen, Unit
from plainstack.engine.role import Role
from plainstack.inventory.port_numbers import RESTORED
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from tests.unit.sandbox import Sandbox

ANY = "00000000"
LOOPBACK = "0100007F"
ANY6 = "0" * 32
MAPPED = "0000000000000000FFFF00000100007F"
EXPORTER = Unit(name="exporter.service", listens=(Listen(9100),), timeout=30)


class Host(Sandbox):
    """A sandbox with a /proc that the tests write."""

    def holds(
        self, where: str, pid: int, process: str, cgroup: str, *, table: str = "tcp", state: str = "0A", fds: int = 1
    ) -> None:
        """Add a socket at `where`, ADDRESS:PORT in hexadecimal, and its process; pid 0 means an invisible process."""
        inode = 7000 + len(list((self.root / "proc").glob("*/fd/*"))) + 100 * pid
        listing = self.root / "proc/net" / table
        listing.parent.mkdir(parents=True, exist_ok=True)
        before = listing.read_text() if listing.exists() else "  sl  local_address rem_address   st\n"
        line = f"   0: {where} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"
        listing.write_text(before + line)
        if not pid:
            return
        folder = self.root / f"proc/{pid}/fd"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(fds):
            (folder / str(3 + number + len(list(folder.iterdir())))).symlink_to(f"socket:[{inode}]")
        self.write(f"proc/{pid}/comm", f"{process}\n")
        self.write(f"proc/{pid}/cgroup", f"12:pids:/\n0::{cgroup}\n")

    def listeners(self, *units: Unit) -> set[Listener]:
        return set(self.observe(units).listeners)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(Sandbox.new(tmp_path / "host").root)


@pytest.mark.programs
def test_the_process_and_unit_that_hold_a_port_are_observed(host: Host) -> None:
    host.holds(f"{ANY}:238C", 41, "python3", "/user.slice/user-0.slice/session-3.scope", fds=2)
    host.holds(f"{LOOPBACK}:1F91", 42, "nginx", "/system.slice/nginx.service")
    host.holds(f"{LOOPBACK}:1F92", 43, "other", "/system.slice/other.service")
    host.holds(f"{MAPPED}:01BB", 44, "java", "/a.slice/shop@1.service/inner", table="tcp6")
    host.holds(f"{ANY6}:01BB", 45, "caddy", "/system.slice/docker-0a.scope", table="udp6", state="07")
    host.holds(f"{ANY}:0050", 0, "", "")
    listens = (Listen(9100), Listen(8081), Listen(443), Listen(443, "udp"), Listen(80))
    assert host.listeners(Unit(name="a.service", listens=listens)) == {
        Listener("tcp", "", 9100, "python3", "41", "session-3.scope"),
        Listener("tcp", "127.0.0.1", 8081, "nginx", "42", "nginx.service"),
        Listener("tcp", "127.0.0.1", 443, "java", "44", "shop@1.service"),
        Listener("udp", "", 443, "caddy", "45", "docker-0a.scope"),
        Listener("tcp", "", 80),
    }


@pytest.mark.programs
def test_a_connection_is_not_a_listener(host: Host) -> None:
    host.holds(f"{ANY}:238D", 41, "other", "/system.slice/other.service")
    host.holds(f"{LOOPBACK}:238C", 42, "curl", "/system.slice/curl.service", state="01")
    host.holds(f"{LOOPBACK}:238C", 43, "dig", "/system.slice/dig.service", table="udp", state="01")
    assert host.listeners(EXPORTER) == set()


@pytest.mark.programs
def test_a_real_socket_of_this_machine_is_observed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        unit = Unit(name="a.service", listens=(Listen(port),))
        reported = subprocess.run(
            ["sh", "-c", listeners.probe(unit.listens)], capture_output=True, text=True, check=True
        ).stdout
    (line,) = reported.splitlines()
    seen = listeners.parse(line.split("\t")[1:])
    assert (seen.protocol, seen.address, seen.port, seen.pid) == ("tcp", "127.0.0.1", port, str(os.getpid()))


def taken(*listeners: Listener, unit: Unit = EXPORTER, manifest: Sequence[str] = ()) -> list[str]:
    entries = {"base": tuple(Entry("unit", name, "enabled,running") for name in manifest)}
    return list(ports.taken({"base": [unit]}, Observed(listeners=listeners, manifest=entries)))


def test_a_port_held_by_another_program_is_reported_with_the_process_and_a_remedy() -> None:
    (sentence,) = taken(Listener("tcp", "", 9100, "python3", "41", "legacy.service"))
    assert sentence == (
        "tcp port 9100 is taken: python3 (process 41, legacy.service) listens on *:9100, and exporter.service"
        " needs the port. Stop it for good (systemctl disable --now legacy.service), or move it to another port"
    )
    assert "(kill 41," in taken(Listener("tcp", "", 9100, "python3", "41", "session-3.scope"))[0]
    assert "list-sockets" in taken(Listener("tcp", "", 9100, "systemd", "1", "init.scope"))[0]
    assert "a socket without a process" in taken(Listener("tcp", "", 9100))[0]


@pytest.mark.parametrize(("state", "conflicts"), [("active", 0), ("inactive", 1)])
def test_a_socket_without_a_visible_process_is_that_of_the_unit_that_runs(state: str, conflicts: int) -> None:
    sshd = Unit(name="ssh.service", listens=(Listen(22, adopted=True),))
    observed = Observed(
        listeners=(Listener("tcp", "", 9100), Listener("tcp", "", 22)),
        manifest={"base": (Entry("unit", "exporter.service", "enabled,running"),)},
        units={name: UnitState("loaded", state) for name in ("exporter.service", "ssh.service")},
    )
    assert len(list(ports.taken({"base": [EXPORTER]}, observed))) == conflicts
    assert len(list(ports.taken({"base": [sshd]}, observed))) == conflicts


def test_many_workers_of_one_program_are_reported_once() -> None:
    workers = [Listener("tcp", address, 9100, "nginx", str(pid), "n.service") for address in "a" for pid in range(9)]
    assert len(taken(*workers)) == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "collide"),
    [
        ("", "", True),
        ("", "192.0.2.1", True),
        ("192.0.2.1", "", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "127.0.0.1", False),
    ],
)
def test_only_listeners_on_the_same_address_conflict(ours: str, theirs: str, collide: bool) -> None:
    unit = Unit(name="exporter.service", listens=(Listen(9100, address=ours),))
    assert bool(taken(Listener("tcp", theirs, 9100, "python3", "41"), unit=unit)) == collide
    assert not taken(Listener("udp", theirs, 9100, "python3", "41"), unit=unit)
    assert not taken(Listener("tcp", theirs, 9101, "python3", "41"), unit=unit)


def test_a_unit_of_plainstack_may_keep_its_port_until_it_is_moved() -> None:
    own = Listener("tcp", "", 9100, "exporter", "41", "exporter.service")
    other = Listener("tcp", "", 9100, "web", "41", "plainstack-web.service")
    assert taken(own, manifest=["exporter.service"]) == []
    assert taken(other, manifest=["plainstack-web.service"]) == []


def test_a_running_daemon_with_the_name_of_a_unit_but_not_from_plainstack_is_refused() -> None:
    own = Listener("tcp", "", 9100, "exporter", "41", "exporter.service")
    (sentence,) = taken(own)
    assert "as exporter.service, which Plainstack did not set up" in sentence


def test_every_host_has_sshd_on_its_port() -> None:
    sshd = Unit(name="ssh.service", listens=(Listen(22, adopted=True),))
    assert not taken(Listener("tcp", "", 22, "sshd", "41", "ssh.service"), unit=sshd)
    assert not taken(Listener("tcp", "", 22, "systemd", "1", "init.scope"), unit=sshd)
    assert taken(Listener("tcp", "", 22, "dropbear", "41", "dropbear.service"), unit=sshd)


def test_every_port_of_the_default_stack_with_clients_or_a_health_check_names_its_unit(
    stack: Stack, vault: Vault, registry: dict[str, Role]
) -> None:
    wanted = assemble(stack, vault, registry, stack.hosts)
    for name, roles in wanted.items():
        resources = [item for items in roles.values() for item in items]
        bound = {(each.protocol, each.port) for item in resources if isinstance(item, Unit) for each in item.listens}
        offered = {
            (opening.protocol, opening.port)
            for role in registry.values()
            if role.name in roles
            for opening in role.opens(stack, stack.hosts[name])
            # A restored cluster listens only during a restore.
            if opening.protocol != "vrrp" and opening.port != RESTORED
        }
        assert offered <= bound, name
        files = "".join(item.content.decode(errors="replace") for item in resources if isinstance(item, File))
        assert ("listen-address=127.0.0.1:9090" in files) == (("tcp", 9090) in bound)


@pytest.fixture
def started(host: Host) -> Host:
    host.write("systemd/packaged/exporter.service", "")
    return host


@pytest.mark.programs
def test_a_unit_is_healthy_only_if_it_holds_its_port_itself(started: Host) -> None:
    started.holds(f"{ANY}:238C", 41, "python3", "/system.slice/legacy.service")
    (done,) = started.deploy({"base": (EXPORTER,)})
    assert done.answer.outcome == "rolled-back"
    assert "port 9100 is held by python3 (process 41), not by exporter.service" in done.answer.tail


@pytest.mark.programs
def test_a_unit_that_answers_but_does_not_listen_is_not_healthy(started: Host) -> None:
    unit = Unit(name="exporter.service", listens=(Listen(9100),), health="true", timeout=30)
    (done,) = started.deploy({"base": (unit,)})
    assert "exporter.service does not listen on port 9100" in done.answer.tail


@pytest.mark.programs
def test_a_unit_that_listens_is_healthy(started: Host) -> None:
    started.holds(f"{ANY6}:238C", 41, "exporter", "/system.slice/exporter.service", table="tcp6")
    assert all(done.ok for done in started.deploy({"base": (EXPORTER,)}))
    assert started.plan({"base": (EXPORTER,)}).empty


def test_port_numbers_are_matched_as_the_kernel_writes_them() -> None:
    listens = [Listen(port) for port in (1, 80, 443, 9100, 65535)]
    assert listeners.hexadecimal(listens) == ["0001", "0050", "01BB", "238C", "FFFF"]
    assert all(len(text) == 4 for text in listeners.hexadecimal(itertools.islice(listens, 2)))
