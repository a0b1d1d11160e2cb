"""A process keeps its old port until the balancers use the new one, also if it can only listen at one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.engine import desired, probe
from plainstack.engine.observed import Observed
from plainstack.engine.resources import File
from plainstack.engine.role import Role
from plainstack.inventory.stack import Stack, StillServed
from plainstack.roles import app
from plainstack.secrets.values import Vault
from plainstack.services import port_changes
from tests import inventories

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
  work1: {address: 10.0.0.5, roles: [worker]}
services:
  api:
    kind: binary
    source: source
    path: /api/
    processes:
      web: {command: "serve ${port}", port: 8300, health: /up, watchdog: {}}
      live: {command: "serve ${port}", port: 8301, health: /up, routes: [/live/]}
      queue: {command: "serve ${port}", port: 8302}
  docs: {kind: static, source: source, path: /docs/, port: 8200}
"""
SERVED = {"serves.api:8300", "serves.api-live:8301", "serves.docs:8200"}
PROGRAM = Path(__file__).parents[3] / f"files/app{port_changes.FORWARDER}"


def parsed(tmp_path: Path, text: str = TEXT, **still: tuple[int, ...]) -> Stack:
    (tmp_path / "source").mkdir(exist_ok=True)
    (tmp_path / "source/serve").write_text("#!/bin/sh\n")
    (tmp_path / "source/serve").chmod(0o755)
    stack = inventories.parse(text, "hosts.yaml", tmp_path)
    return stack.model_copy(
        update={"still": StillServed(ports={name.replace("_", "-"): p for name, p in still.items()})}
    )


def seen(*facts: str) -> dict[str, Observed]:
    """Return two application hosts that have printed facts."""
    return dict.fromkeys(("app1", "app2"), Observed(facts=dict.fromkeys(facts, "yes")))


def files(stack: Stack, registry: Mapping[str, Role], host: str = "app1") -> dict[str, str]:
    found = desired.assemble(
        stack, Vault({}, {}, "authority"), {name: registry[name] for name in ("app", "firewall", "balancer")}, [host]
    )
    return {item.path: item.content.decode() for one in found[host].values() for item in one if isinstance(item, File)}


def test_a_changed_port_of_each_process_stays_until_the_balancers_have_moved(tmp_path: Path) -> None:
    text = TEXT.replace("8300", "8400").replace("8301", "8401").replace("8200", "8210")
    stack = parsed(tmp_path, text)
    now = app.transition(stack, seen(*SERVED))
    assert now.still.ports == {"api": (8300,), "api-live": (8301,), "docs": (8200,)}
    assert list(port_changes.sentences(now))[1] == (
        "api-live also answers at port 8301 until every balancer uses 8401. A second pass closes it"
    )
    assert app.transition(now.model_copy(update={"still": StillServed()}), seen("serves.api:8400")).still.ports == {}


def test_a_port_that_changes_again_before_all_hosts_have_it_stays_with_both_earlier_ones(tmp_path: Path) -> None:
    stack = parsed(tmp_path, TEXT.replace("8300", "8500"))
    observed = {**seen("serves.api:8300"), "app1": seen("serves.api:8400", "serves.api:8300")["app1"]}
    assert port_changes.still(stack, observed) == {"api": (8300, 8400)}


def test_a_program_that_listens_at_one_port_gets_the_connections_to_the_others(
    tmp_path: Path, registry: Mapping[str, Role]
) -> None:
    written = files(parsed(tmp_path, TEXT, api=(8298, 8299), docs=(8199,)), registry)
    unit = written["/etc/systemd/system/plainstack-api.service"]
    assert "ExecStartPre=+/usr/local/lib/plainstack/old-ports api 10.0.0.3 8300 8298 8299\n" in unit
    assert "ExecStopPost=+-/usr/local/lib/plainstack/old-ports api 10.0.0.3\n" in unit
    assert "old-ports" not in written["/etc/systemd/system/plainstack-docs.service"]
    assert written["/etc/plainstack/app/docs.nginx.conf"].count("listen 10.0.0.3:8") == 2
    # Without an old port, a unit only ends what an interrupted change has left.
    live = written["/etc/systemd/system/plainstack-api-live.service"]
    assert "ExecStartPre" not in live
    assert "ExecStopPost=+-/usr/local/lib/plainstack/old-ports api-live 10.0.0.3\n" in live


def test_balancers_and_watchdogs_of_other_hosts_still_reach_the_old_port(
    tmp_path: Path, registry: Mapping[str, Role]
) -> None:
    rules = files(parsed(tmp_path, TEXT, api=(8299,)), registry)["/etc/iptables/plainstack.v4"]
    for port in (8300, 8299):
        assert f"-s 10.0.0.4 -p tcp --dport {port} " in rules


@pytest.mark.programs
def test_the_probe_finds_the_ports_that_are_served_and_open(tmp_path: Path, registry: Mapping[str, Role]) -> None:
    stack = parsed(tmp_path, TEXT, api=(8299,))
    root = tmp_path / "root"
    for path, text in files(stack, registry).items():
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (root / path.lstrip("/")).write_text(text)
    script = probe.script((), list(port_changes.facts(stack)))
    said = subprocess.run(
        ["sh", "-c", script], env={**os.environ, "ROOT": str(root)}, capture_output=True, text=True, check=True
    )
    found = probe.parse(said.stdout, str(root)).facts
    assert {key for key in found if key.startswith("serves.")} == {*SERVED, "serves.api:8299"}
    # Nobody outside the host uses the port of a process without routes.
    opened = {key for key in found if key.startswith("open.")}
    assert opened >= {"open.8300", "open.8299", "open.8301", "open.8200"}
    assert "open.8302" not in opened
    assert list(port_changes.facts(stack.model_copy(update={"services": {}}))) == []


def refused(stack: Stack, facts: tuple[str, ...], host: str = "app1") -> list[str]:
    return [one.text for one in app.findings(stack, stack.hosts[host], seen(*facts)["app1"]) if one.refused]


def test_no_process_gets_the_old_port_of_another_one_in_the_same_deploy(tmp_path: Path) -> None:
    swapped = TEXT.replace("8300", "x").replace("8301", "8300").replace("x", "8301")
    facts = ("serves.api:8300", "serves.api-live:8301")
    assert refused(parsed(tmp_path, swapped), facts) == [
        "api-live cannot have port 8300 before api is deployed with port 8301: balancers would send it the requests of"
        " api. Give api-live this port in a later deploy. Two services swap their ports through a third one",
        "api cannot have port 8301 before api-live is deployed with port 8300: balancers would send it the requests of"
        " api-live. Give api this port in a later deploy. Two services swap their ports through a third one",
    ]
    # A port that no balancer asks for, and one that is free since the last deploy.
    assert refused(
        parsed(tmp_path, TEXT.replace("8302", "8300").replace("port: 8300, health", "port: 8400, health")), facts
    )
    assert refused(parsed(tmp_path, swapped), ("serves.api:8301", "serves.api-live:8300")) == []
    assert refused(parsed(tmp_path), facts) == []


BALANCER = "  lb1: {address: 10.0.0.1, roles: [balancer]}\n"


def test_without_balancers_a_rollback_needs_no_open_port(tmp_path: Path) -> None:
    stack = parsed(tmp_path, TEXT.replace(BALANCER, ""))
    assert list(port_changes.closed(stack, "api", seen("serves.api:8300"))) == []


def test_a_service_that_a_command_leaves_alone_does_not_stop_it(tmp_path: Path) -> None:
    stack = parsed(tmp_path, TEXT.replace("8200", "8300").replace("port: 8300, health", "port: 8400, health"))
    assert refused(stack, ("serves.api:8300",))
    aside = stack.held.model_copy(update={"aside": ("docs",)})
    assert refused(stack.model_copy(update={"held": aside}), ("serves.api:8300",)) == []


def test_without_balancers_services_may_swap_their_ports(tmp_path: Path) -> None:
    text = TEXT.replace(BALANCER, "")
    swapped = text.replace("8300", "x").replace("8301", "8300").replace("x", "8301")
    assert refused(parsed(tmp_path, swapped), ("serves.api:8300", "serves.api-live:8301")) == []


def test_a_rollback_does_not_move_a_process_to_a_port_that_is_still_closed(tmp_path: Path) -> None:
    stack = parsed(tmp_path, TEXT.replace("8300", "8400"))
    observed = {**seen("serves.api:8300", "open.8300"), "app2": seen("serves.api:8400", "open.8400")["app1"]}
    assert list(port_changes.closed(stack, "api", observed)) == [
        "api has port 8400 in the inventory, which is not open on app1 yet. Write port 8300, which it has now, into the"
        " inventory, or run inv deploy first",
    ]
    assert list(port_changes.closed(stack, "docs", observed)) == []
    opened = seen("serves.api:8300", "open.8300", "open.8400")
    assert list(port_changes.closed(stack, "api", opened)) == []


ALONE = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.mark.programs
@pytest.mark.skipif(not shutil.which("iptables-save", path="/usr/sbin"), reason="no iptables")
@pytest.mark.parametrize("address", ["10.0.0.3", "fd00::3"])
def test_connections_to_old_ports_arrive_at_the_new_one_until_the_process_stops(address: str) -> None:
    """In a network namespace of its own, a server listens at one port, and clients connect to the others."""
    length = 128 if ":" in address else 32
    program = f"""
import socket, subprocess
family = socket.AF_INET6 if ":" in {address!r} else socket.AF_INET
def forward(*words):
    subprocess.run(["sh", {str(PROGRAM)!r}, *words], check=True)
def reached(port):
    try:
        socket.create_connection(({address!r}, port), 5).close()
    except ConnectionRefusedError:
        return False
    return True
def ports():
    return [port for port in (8200, 8300, 8400, 8500) if reached(port)]
server = socket.create_server(({address!r}, 8400), family=family)
forward("api-live", {address!r})
assert ports() == [8400]
forward("api", {address!r}, "8400", "8300", "8200")
assert ports() == [8200, 8300, 8400], ports()
# The rules of another process stay.
forward("api-live", {address!r}, "8400", "8500")
forward("api", {address!r}, "8400", "8300")
assert ports() == [8300, 8400, 8500], ports()
connection, peer = server.accept()
forward("api", {address!r})
assert ports() == [8400, 8500], ports()
forward("api-live", {address!r})
assert ports() == [8400], ports()
"""
    prepare = f"ip link set lo up && ip address add {address}/{length} dev lo{' nodad' if length == 128 else ''}"
    subprocess.run([*ALONE, "sh", "-ec", f'{prepare}\nexec python3 -c "$0"', program], check=True)
