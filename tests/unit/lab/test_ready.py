"""When a lab is ready, in which order its hosts stop, and which name it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from plainstack.cli import lab_commands
from plainstack.deploy.observe import Observer, View
from plainstack.engine.observed import Entry, Observed, UnitState
from plainstack.engine.role import Role
from plainstack.errors import HostFailed, InventoryError
from plainstack.inventory.stack import Stack
from plainstack.lab.of_inventory import of
from plainstack.lab.ready import ADDRESS, REPLICATION, UNITS, awaited, stop_order, unready
from plainstack.ssh import netns
from plainstack.ssh.connections import Sessions
from tests import inventories

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def stack() -> Stack:
    return inventories.load(ROOT / "hosts.yaml")


def host(active: str = "active", **facts: str) -> Observed:
    """Return a host with one deployed unit."""
    entry = Entry("unit", "x.service", "enabled,running")
    return Observed(manifest={"base": (entry,)}, units={"x.service": UnitState(active=active)}, facts=facts)


def whole(stack: Stack) -> dict[str, Observed]:
    roles = {
        "db1": host(data="yes", running="yes", recovery="false"),
        "db2": host(data="yes", running="yes", signal="yes", recovery="true", upstream="db1"),
        "lb1": host(vip="192.168.3.230"),
        "lb2": host(vip=""),
    }
    return {name: roles.get(name, host()) for name in stack.hosts}


def test_clients_of_a_database_are_stopped_before_it(stack: Stack, registry: Mapping[str, Role]) -> None:
    groups = stop_order(stack, registry)
    place = {name: number for number, group in enumerate(groups) for name in group}
    assert set(place) == {*stack.hosts, "visitor"}
    assert place["visitor"] == 0
    assert max(place["app1"], place["app2"], place["bak1"]) < min(place["db1"], place["db2"])


def test_a_complete_stack_is_ready(stack: Stack) -> None:
    assert unready(stack, View(stack, observed=whole(stack))) == {UNITS: [], REPLICATION: [], ADDRESS: []}


@pytest.mark.parametrize(
    ("name", "seen", "asked"),
    [
        ("app1", host("activating"), {"app1"}),
        ("lb1", host(vip=""), {"lb1", "lb2"}),
        ("db2", host(data="yes", running="yes", signal="yes", recovery="true"), {"db1", "db2"}),
    ],
)
def test_only_hosts_that_are_still_awaited_are_asked_again(
    stack: Stack, name: str, seen: Observed, asked: set[str]
) -> None:
    view = View(stack, observed={**whole(stack), name: seen})
    assert awaited(stack, view, unready(stack, view)) == asked
    del view.observed["bak1"]
    view.failed["bak1"] = HostFailed("bak1", "connect", "no answer")
    assert awaited(stack, view, unready(stack, view)) == {*asked, "bak1"}


@pytest.mark.parametrize(
    ("name", "seen", "what", "sentence"),
    [
        ("app1", host("activating"), UNITS, "app1: x.service is activating"),
        ("lb1", host(vip=""), ADDRESS, "0 hosts hold the virtual address 192.168.3.230"),
        ("lb2", host(vip="192.168.3.230"), ADDRESS, "2 hosts hold the virtual address 192.168.3.230"),
        ("db2", host(data="yes", running="yes", signal="yes"), REPLICATION, "db2 does not stream (silent)"),
        (
            "db2",
            host(data="yes", running="yes", signal="yes", recovery="true"),
            REPLICATION,
            "db2 does not stream (replica)",
        ),
    ],
)
def test_everything_that_is_not_ready_is_reported(
    stack: Stack, name: str, seen: Observed, what: str, sentence: str
) -> None:
    missing = unready(stack, View(stack, observed={**whole(stack), name: seen}))
    assert missing[what] == [sentence]


def test_a_host_that_does_not_answer_is_not_ready(stack: Stack) -> None:
    observed = whole(stack)
    del observed["mon1"]
    missing = unready(
        stack, View(stack, observed=observed, failed={"mon1": HostFailed("mon1", "connect", "no answer")})
    )
    assert missing[UNITS] == ["mon1: no answer"]


def test_hosts_that_were_not_started_are_not_awaited(stack: Stack) -> None:
    some = {name: seen for name, seen in whole(stack).items() if name in ("db1", "lb1", "app1")}
    assert unready(stack, View(stack, observed=some)) == {UNITS: []}


def test_a_host_that_is_to_become_a_database_is_not_awaited(stack: Stack) -> None:
    observed = {**whole(stack), "db2": host(data="no")}
    assert unready(stack, View(stack, observed=observed))[REPLICATION] == []


def test_bare_hosts_are_not_awaited(stack: Stack) -> None:
    assert unready(stack, View(stack, observed={name: Observed() for name in stack.hosts})) == {}


def named(folder: Path, lab: str) -> Stack:
    folder.mkdir(exist_ok=True)
    text = f"""\
        stack: shop
        ssh: {{gateway: lab}}
        hosts:
          a: {{address: 192.168.57.11}}
        {lab}
        """
    (folder / "hosts.yaml").write_text(dedent(text), encoding="utf-8")
    return inventories.load(folder / "hosts.yaml")


def namespaces_tried(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the network namespaces in which connections to the stack's hosts are opened."""
    tried: list[str] = []

    def connect(namespace: str, *_: object) -> None:
        tried.append(namespace)
        raise OSError

    monkeypatch.setattr(netns, "connect", connect)
    with Sessions(stack) as sessions, pytest.raises(HostFailed):
        sessions.to("a")
    return sorted(set(tried))


def test_a_lab_may_have_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = named(tmp_path / "a", ""), named(tmp_path / "b", "lab: {name: second}")
    assert of(first).namespace == "plainstack-shop"
    assert of(second).namespace == "plainstack-second"
    assert namespaces_tried(second, monkeypatch) == ["plainstack-second"]
    assert second.state == tmp_path / "b/.plainstack/second"
    assert lab_commands.digest(first) == lab_commands.digest(second)
    with pytest.raises(InventoryError, match=r"lab\.name: must be lower case"):
        named(tmp_path / "c", "lab: {name: a/b}")


def test_a_host_may_have_a_disk_of_limited_size(tmp_path: Path) -> None:
    limited = named(tmp_path / "a", "lab: {disks: {a: 500M}}")
    assert [host.room for host in of(limited).hosts] == [500 * 2**20]
    assert lab_commands.digest(limited) == lab_commands.digest(named(tmp_path / "b", ""))
    slow = named(tmp_path / "d", "lab: {links: {a: {rate: 10M}}, no_ipv6: [a]}")
    assert lab_commands.digest(slow) == lab_commands.digest(limited)
    for wrong, said in (("{b: 1G}", r"lab\.disks\.b: there is no host b"), ("{a: 5}", r"lab\.disks\.a")):
        with pytest.raises(InventoryError, match=said):
            named(tmp_path / "c", f"lab: {{disks: {wrong}}}")


def test_a_host_that_refused_the_first_connection_is_asked_again(
    tmp_path: Path, registry: Mapping[str, Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host may still be booting; if the refusal were cached, the wait would never end."""
    asked: list[str] = []

    def refuse(_sessions: Sessions, name: str) -> None:
        asked.append(name)
        raise HostFailed(name, "connect", "the connection was refused")

    monkeypatch.setattr(Sessions, "to", refuse)
    with Observer(named(tmp_path / "a", ""), registry, (), ("a",)) as observer:
        for _ in range(2):
            assert list(observer.observe().failed) == ["a"]
    assert asked == ["a", "a"]
