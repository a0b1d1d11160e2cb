"""A lab with two disks below a test's folder, which tests save and start again without a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.lab import disk, model
from plainstack.lab.model import Lab, LabHost
from plainstack.lab.snapshot import Origin

DB = LabHost("db1", "192.168.57.11")
LB = LabHost("lb1", "192.168.57.16", "192.168.3.231")
ORIGIN = Origin("shop", "/home/me/hosts.yaml", "abc", "0123456")


def use_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let disks, layers and snapshots lie below the folder of a test."""
    monkeypatch.setattr(model, "DISKS", tmp_path / "disks")
    monkeypatch.setattr(model, "LAYERS", tmp_path / "disks/.layers")
    monkeypatch.setattr(model, "SNAPSHOTS", tmp_path / "disks/.snapshots")


def two_disks(tmp_path: Path) -> Lab:
    """Return a lab with two disks; on each, its host has written a file."""
    (tmp_path / "image/etc").mkdir(parents=True)
    made = Lab("shop", (DB, LB), tmp_path / "state/lab")
    made.state.mkdir(parents=True)
    (made.state / "id_ed25519").write_text("the operator's key")
    for host in made.hosts:
        disk.make(disk.of(made, host), tmp_path / "image")
        (disk.of(made, host).folder / "stamp").write_text("stamp")
        (disk.of(made, host).upper / "data").write_text(f"data of {host.name}")
    return made


def second(tmp_path: Path) -> Lab:
    return Lab("second", (DB, LB), tmp_path / "second/lab")


def seen(here: disk.Disk, name: str) -> str:
    """Return the content of a file as the host would see it."""
    return next((layer / name).read_text() for layer in (here.upper, *here.lowers) if (layer / name).exists())
