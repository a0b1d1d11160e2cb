"""Layers: the files that a host had written when a snapshot was made, read-only below the disks that continue it."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from plainstack.lab import model, trees
from plainstack.lab.disk import Disk

_KEPT = ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "stamp")


def make_on(disk: Disk, layer: Path, source: Path) -> None:
    """Make a disk on top of `layer`. The layer's content is at `source`, until the caller moves it to `layer`."""
    shutil.rmtree(disk.folder, ignore_errors=True)
    for folder in ("half", "work", "root"):
        (disk.folder / folder).mkdir(parents=True)
    disk.folder.chmod(0o700)
    (disk.folder / "image").symlink_to((source / "image").readlink())
    (disk.folder / "layer").symlink_to(layer)
    for name in _KEPT:
        shutil.copy2(source / name, disk.folder / name)
    half = disk.folder / "half"
    half.chmod((source / "upper").stat().st_mode & 0o7777)
    half.rename(disk.upper)


def freeze(disk: Disk) -> Path:
    """Turn the disk of a stopped host into a layer, and return it; a new disk on top of the layer takes its place.

    Nothing is copied. `recover` completes or undoes a call that was killed.
    """
    layer = model.LAYERS / uuid.uuid4().hex
    layer.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = Disk(_fresh(disk))
    make_on(fresh, layer, disk.folder)
    disk.folder.rename(layer)
    fresh.folder.rename(disk.folder)
    return layer


def recover(disk: Disk) -> None:
    """Complete or undo a `freeze` that was killed, so that the disk is in its place and nothing is left over."""
    fresh = _fresh(disk)
    if fresh.exists():
        if disk.folder.exists():
            shutil.rmtree(fresh)
        else:
            fresh.rename(disk.folder)


def sweep() -> None:
    """Remove incomplete disks and snapshots, and layers that no disk and no snapshot needs any more.

    The caller holds the machine's lock, so no other command is creating a layer.
    """
    trees.remove((*model.DISKS.glob(".*.half"), *model.SNAPSHOTS.glob(".*")))
    if not model.LAYERS.is_dir():
        return
    used = {link.readlink() for link in model.DISKS.glob("*/*/layer") if link.parent.parent != model.LAYERS}
    used |= {link.readlink() for link in model.SNAPSHOTS.glob("*/layers/*")}
    waiting = list(used)
    while waiting:
        below = waiting.pop() / "layer"
        if below.is_symlink() and below.readlink() not in used:
            used.add(below.readlink())
            waiting.append(below.readlink())
    trees.remove(layer for layer in model.LAYERS.iterdir() if layer not in used)


def _fresh(disk: Disk) -> Path:
    return disk.folder.with_name(f".{disk.folder.name}.new")
