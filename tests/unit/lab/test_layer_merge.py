"""Layers that only one disk needs are merged, and a kill at any moment leaves the disk as it was."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from plainstack.lab import disk, layers, snapshot
from plainstack.lab.model import Lab
from tests.unit.lab.saved_lab import DB, LB, ORIGIN, second, seen, two_disks, use_folder

pytestmark = pytest.mark.programs


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_folder(tmp_path, monkeypatch)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return two_disks(tmp_path)


def test_layers_that_nothing_else_needs_are_merged(lab: Lab) -> None:
    here = disk.of(lab, DB)
    for name in ("one", "two", "three"):
        snapshot.write(lab, name, ORIGIN, {})
        (here.upper / "data").write_text(f"after {name}")
        (here.upper / name).touch()
    for name in ("one", "two"):
        snapshot.forget(name)
    assert (len(here.layers), layers.depth(here)) == (3, 1)
    kept = here.layers[0]
    layers.merge_unused(here)
    assert [one.folder for one in here.layers] == [kept.folder], "the layer of the snapshot that is left"
    assert seen(here, "data") == "after three"
    assert sorted(path.name for path in kept.upper.iterdir()) == ["data", "etc", "one", "two"]
    assert (kept.upper / "data").read_text() == "after two"
    snapshot.forget("three")
    layers.merge_unused(here)
    assert here.lowers == [here.image]
    assert sorted(path.name for path in here.upper.iterdir()) == ["data", "etc", "one", "three", "two"]
    layers.sweep()
    assert here.exists


def test_a_layer_below_the_disks_of_two_labs_is_not_touched(lab: Lab, tmp_path: Path) -> None:
    for name in ("one", "two"):
        snapshot.write(lab, name, ORIGIN, {})
    snapshot.place(snapshot.read("two"), second(tmp_path), {})
    for name in ("one", "two"):
        snapshot.forget(name)
    here = disk.of(lab, DB)
    layers.merge_unused(here)
    assert len(here.layers) == 2
    for host in (DB, LB):
        disk.of(second(tmp_path), host).folder.rename(tmp_path / f"gone-{host.name}")
    layers.merge_unused(here)
    assert here.layers == []


def test_a_killed_merge_leaves_a_disk_that_shows_the_same(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    here = disk.of(lab, DB)
    for name in ("one", "two"):
        snapshot.write(lab, name, ORIGIN, {})
        (here.upper / "etc").mkdir(exist_ok=True)
        for number in range(3):
            (here.upper / f"etc/{name}-{number}").write_text(name)
        snapshot.forget(name)
    wanted = {f"etc/{name}-{number}": name for name in ("one", "two") for number in range(3)} | {"data": "data of db1"}
    rename, rounds = Path.rename, 0
    while here.layers:
        left = [rounds]
        rounds += 1

        def until(path: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", until)
        with contextlib.suppress(KeyboardInterrupt):
            layers.merge_unused(here)
        monkeypatch.setattr(Path, "rename", rename)
        layers.sweep()
        assert {name: seen(here, name) for name in wanted} == wanted
    assert rounds > 2
