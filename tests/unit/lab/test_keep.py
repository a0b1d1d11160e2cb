"""Saving a lab: what cannot be saved is refused before a host stops, and what fails later says how to go on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from plainstack.cli import lab_commands
from plainstack.lab import container, disk, keep, layers, machine, model, network, owner, snapshot, up
from plainstack.lab.model import Lab, LabHost
from plainstack.lab.network import Link
from plainstack.lab.snapshot import Origin
from plainstack.ssh import netns
from plainstack.ssh.netns import LabError

pytestmark = pytest.mark.programs

DB = LabHost("db1", "192.168.57.11")
ORIGIN = Origin("shop", "/home/me/hosts.yaml", "abc", "0123456")


class Machine:
    """A machine with a running lab of one host: what lab.save did to it, and the faults of its host."""

    def __init__(self, folder: Path) -> None:
        self.did: list[str] = []
        self.frozen = self.cut = False
        self.lab = Lab("shop", (DB,), folder / "state/lab")

    def save(self, name: str = "one", *, down: bool = False) -> None:
        keep.save(self.lab, name, ORIGIN, {}, [["db1"]], lambda _host, what: self.did.append(what), remove=down)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    for name, folder in (("DISKS", "disks"), ("LAYERS", "disks/.layers"), ("SNAPSHOTS", "disks/.snapshots")):
        monkeypatch.setattr(model, name, tmp_path / folder)
    monkeypatch.setattr(machine, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(machine, "require_root", lambda _task: None)
    monkeypatch.setattr(netns, "is_up", lambda _namespace: True)
    monkeypatch.setattr(container, "alive", lambda _lab, _host: True)
    monkeypatch.setattr(container, "frozen", lambda _lab, _host: made.frozen)
    monkeypatch.setattr(container, "shut_down", lambda _lab, host: made.did.append(f"{host.name} stopped"))
    monkeypatch.setattr(network, "observe", lambda _lab: {DB.cables[0].end: Link(up=not made.cut, master=None)})
    monkeypatch.setattr(
        up, "start", lambda _lab, hosts, _report: made.did.extend(f"{one.name} started" for one in hosts)
    )
    made.lab.state.mkdir(parents=True)
    (tmp_path / "image").mkdir()
    disk.make(disk.of(made.lab, DB), tmp_path / "image")
    (disk.of(made.lab, DB).folder / "stamp").touch()
    owner.write(made.lab, made.lab.disks)
    return made


def test_saves_that_are_forgotten_add_no_layers(here: Machine) -> None:
    for _ in range(3):
        here.save()
        assert len(disk.of(here.lab, DB).layers) == 1
        snapshot.forget("one")
    assert here.did == ["stopping db1", "db1 stopped", "db1 started"] * 3


def test_one_layer_too_many_is_refused_before_a_host_stops(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST", 2)
    for name in ("one", "two"):
        here.save(name)
    here.did.clear()
    with pytest.raises(LabError, match=r"db1: .* 2 layers.*inv lab\.forget"):
        here.save("three")
    assert here.did == []
    snapshot.forget("one")
    here.save("three")


def test_a_host_with_a_fault_is_not_saved(here: Machine) -> None:
    here.cut = True
    with pytest.raises(LabError, match=r"cut: db1\. .*inv lab\.mend db1"):
        here.save()
    here.frozen = True
    with pytest.raises(LabError, match=r"frozen: db1\. .*inv lab\.mend db1"):
        here.save()
    assert here.did == []


def test_a_name_in_use_is_refused_before_a_host_stops(here: Machine) -> None:
    here.save()
    here.did.clear()
    with pytest.raises(LabError, match=r"there is already a snapshot one\."):
        here.save()
    assert here.did == []


def test_a_save_waits_for_another_save_under_the_same_name_before_it_stops_a_host(here: Machine) -> None:
    """Another lab's save holds the name until its snapshot is there."""
    place = model.SNAPSHOTS / "one"

    def other_ends(_host: str, what: str) -> None:
        here.did.append(what)
        place.mkdir(parents=True)
        held.__exit__(None, None, None)

    held = machine.locked(".snapshot-one", lambda _host, _what: None)
    held.__enter__()
    with pytest.raises(LabError, match=r"there is already a snapshot one\."):
        keep.save(here.lab, "one", ORIGIN, {}, [["db1"]], other_ends)
    assert here.did == ["waiting for another lab command to end"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/var/x"), "/var/x: No space left on device"),
        (LabError("broken"), "broken"),
        (subprocess.CalledProcessError(1, ["sync"]), "sync"),
    ],
)
def test_a_failure_after_the_hosts_stopped_says_how_to_start_them(
    here: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(layers, "freeze", fail)
    with pytest.raises(LabError, match=rf"(?s){said}.*No snapshot was saved\. To start .* again: inv lab\.up"):
        here.save()


def test_a_failed_start_after_a_save_says_that_the_snapshot_was_saved(
    here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LabError("db1: does not boot")

    monkeypatch.setattr(up, "start", fail)
    with pytest.raises(LabError, match=r"(?s)does not boot\nThe snapshot one was saved\..*inv lab\.up"):
        here.save()
    monkeypatch.setattr(up, "remove", fail)
    with pytest.raises(LabError, match=r"(?s)does not boot\nThe snapshot two was saved\. .*: inv lab\.down"):
        here.save("two", down=True)


def test_a_missing_snapshot_is_reported_even_if_the_lab_exists(here: Machine) -> None:
    with pytest.raises(LabError, match=r"there is no snapshot nope\."):
        keep.start_from(here.lab, "nope", "shop", {}, (), lambda _host, _what: None)
    with pytest.raises(LabError, match=r"'UP' is not a valid name for a snapshot"):
        keep.start_from(here.lab, "UP", "shop", {}, (), lambda _host, _what: None)


def test_an_empty_name_of_a_snapshot_does_not_start_bare_hosts(
    here: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text("stack: shop\nhosts: {db1: {address: 192.168.57.11, roles: []}}\n", encoding="utf-8")
    with pytest.raises(Exit):
        lab_commands.up(str(inventory), "")
    assert "--from has no name of a snapshot" in capsys.readouterr().err
    assert here.did == []
