"""Hosts that were removed from the inventory are found, shown and powered off; their disks stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from invoke.exceptions import Exit

from plainstack.cli import lab_commands
from plainstack.lab import cgroup, container, former, model, network, up
from plainstack.lab.model import Branch, Lab, LabHost
from plainstack.lab.network import Link

LAB = Lab("shop", (LabHost("db1", "192.168.57.11"), LabHost("new", "192.168.57.12")), Path("state"))
UP = Link(up=True, master=None)


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Simulate a lab in which db1 and the former host old run, and of gone there is a disk; return what is done."""
    what: list[str] = []
    monkeypatch.setattr(model, "DISKS", tmp_path / "disks")
    monkeypatch.setattr(cgroup, "tree", lambda: tmp_path / "groups")
    for name in ("db1", "old", "gone"):
        (tmp_path / "disks/shop" / name / "upper").mkdir(parents=True)
    (tmp_path / "disks/shop/half/half").mkdir(parents=True)
    (tmp_path / "disks/shop/owner").touch()
    for name in ("db1", "old", "off"):
        (tmp_path / "groups/shop" / name).mkdir(parents=True)
    monkeypatch.setattr(cgroup, "alive", lambda path: path.name in ("db1", "old"))
    monkeypatch.setattr(container, "alive", lambda _lab, host: host.name == "db1")
    monkeypatch.setattr(network, "observe", lambda _: {"private": UP, "private-11": UP, "private-12": UP})
    monkeypatch.setattr(network, "change", lambda _, commands: what.extend(commands))
    monkeypatch.setattr(cgroup, "remove", lambda group: what.append(f"end {group.name}"))
    return what


def test_hosts_outside_the_inventory_are_found_by_their_processes_and_their_disks(done: list[str]) -> None:
    assert former.states(LAB) == {"gone": False, "old": True}
    assert done == []


def test_a_running_one_is_unplugged_and_powered_off_with_a_message(done: list[str]) -> None:
    said: list[str] = []
    former.power_off(LAB, lambda host, what: said.append(f"{host}: {what}"))
    # The address of the former host is that of a new one, which does not run yet.
    assert done == ["link delete private-12", "end old"]
    assert said == ["old: is not in the inventory any more: powered off. inv lab.down removes its disk"]


def test_only_cables_are_unplugged() -> None:
    branch = Branch("h1", "db1")
    names = [
        "lo",
        "private",
        "public",
        branch.bridge("private"),
        *branch.trunk("private"),
        "private-11",
        "public-1a2b3c4",
    ]
    assert former.plan(dict.fromkeys(names, UP), {"private-11"}) == ["link delete public-1a2b3c4"]


@pytest.mark.parametrize(("state", "code"), [(up.FORMER_UP, 1), (up.FORMER_OFF, 0)])
def test_lab_status_shows_them_and_fails_only_if_one_is_running(
    state: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "stack: shop\nssh: {gateway: lab}\nhosts: {db1: {address: 192.168.57.11}}\n"
    (tmp_path / "hosts.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(up, "status", lambda _: {"db1": "up", "old": state})
    try:
        lab_commands.status(str(tmp_path / "hosts.yaml"))
        ended = 0
    except Exit as error:
        ended = error.code
    assert ended == code
    assert f"old          {state}" in capsys.readouterr().out
