"""Repairing a broken host: the lab does no more than necessary."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from plainstack.lab import breaks, container, machine, model, network, owner, up
from plainstack.lab.model import Lab, LabHost
from plainstack.ssh import netns
from plainstack.ssh.netns import LabError

HOST = LabHost("db1", "192.168.57.11")
LAB = Lab("shop", (HOST,), Path("state"))


class Machine:
    """A simulated lab host, and a record of what the lab did to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, alive: bool, frozen: bool, answers: bool = True) -> None:
        self.done: list[str] = []
        monkeypatch.setattr(up, "running", lambda *_: HOST)
        monkeypatch.setattr(machine, "locked", lambda *_: nullcontext())
        monkeypatch.setattr(container, "alive", lambda *_: alive)
        monkeypatch.setattr(container, "frozen", lambda *_: frozen)
        monkeypatch.setattr(container, "set_frozen", lambda *_, freeze: self.done.append(f"freeze {freeze}"))
        monkeypatch.setattr(container, "run", lambda *_: self.done.append("make room"))
        monkeypatch.setattr(container, "await_ssh", lambda *_: answers)
        monkeypatch.setattr(network, "switch", lambda _lab, _host, state: self.done.append(f"cables {state}"))
        monkeypatch.setattr(up, "start", lambda *_: self.done.append("boot"))


@pytest.mark.parametrize(
    ("alive", "frozen", "first"),
    [(True, False, []), (True, True, ["freeze False"]), (False, False, ["boot"])],
)
def test_a_running_host_is_not_booted(
    monkeypatch: pytest.MonkeyPatch, alive: bool, frozen: bool, first: list[str]
) -> None:
    seen = Machine(monkeypatch, alive=alive, frozen=frozen)
    breaks.mend(LAB, "db1")
    assert seen.done == [*first, "cables up", "make room"]


def test_a_full_disk_on_which_sshd_cannot_start_is_emptied_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Machine(monkeypatch, alive=False, frozen=False)

    def start(*_: object) -> None:
        seen.done.append("boot")
        monkeypatch.setattr(container, "alive", lambda *_: True)
        if "make room" not in seen.done:
            raise LabError("db1: booted, but its sshd does not answer")

    monkeypatch.setattr(up, "start", start)
    breaks.mend(LAB, "db1")
    assert seen.done == ["boot", "make room", "boot", "cables up", "make room"]


def test_a_host_that_does_not_answer_afterwards_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, alive=True, frozen=False, answers=False)
    with pytest.raises(LabError, match="db1: is mended, but its sshd does not answer"):
        breaks.mend(LAB, "db1")


def test_a_host_without_power_cannot_be_broken_further(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Machine(monkeypatch, alive=False, frozen=False)
    for how in (breaks.cut, breaks.freeze, breaks.fill_disk, breaks.power_off):
        with pytest.raises(LabError, match="db1 is powered off"):
            how(LAB, "db1")
    assert seen.done == []


def test_a_lab_of_another_inventory_is_neither_broken_nor_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "DISKS", tmp_path / "disks")
    monkeypatch.setattr(machine, "require_root", lambda _: None)
    monkeypatch.setattr(netns, "is_up", lambda _: True)
    theirs, mine = (Lab("shop", (HOST,), tmp_path / name) for name in ("theirs", "mine"))
    theirs.state.mkdir()
    owner.write(theirs, theirs.disks)
    reported: list[str] = []
    deeds: list[Callable[[], object]] = [
        *(partial(how, mine, "db1") for how in (breaks.cut, breaks.freeze, breaks.fill_disk, breaks.power_off)),
        lambda: breaks.reboot(mine, "db1", lambda _host, what: reported.append(what)),
        lambda: breaks.mend(mine, "db1"),
        lambda: up.status(mine),
    ]
    for deed in deeds:
        with pytest.raises(LabError, match=f"there is already a lab shop of {theirs.state}"):
            deed()
    assert reported == []
