"""Layers: the files that a host had written when a snapshot was made, read-only below the disks that continue it."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from plainstack.lab import merge, model, trees
from plainstack.lab.disk import Disk

# Linux mounts at most 500 layers on each other. A lab that starts from a snapshot may add layers of its own.
MOST = 400
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


def depth(disk: Disk) -> int:
    """Return how many layers `merge_unused` would leave below a disk."""
    return len(disk.layers) - len(_mergeable(disk))


def merge_unused(disk: Disk) -> None:
    """Merge the layers below the disk of a stopped host that nothing else needs into what lies on them.

    The caller holds the machine's lock. A call that was killed has changed nothing that a host or a snapshot sees.
    """
    for above, below in reversed(_mergeable(disk)):
        merge.lift(below.upper, above.upper)
        link = above.folder / "layer"
        if (below.folder / "layer").is_symlink():
            half = above.folder / "layer.half"
            half.unlink(missing_ok=True)
            half.symlink_to((below.folder / "layer").readlink())
            half.rename(link)
        else:
            link.unlink()
        trees.remove([below.folder])


def _mergeable(disk: Disk) -> list[tuple[Disk, Disk]]:
    """Return the pairs of an upper and a lower layer to merge, topmost first; the disk counts as an upper layer."""
    users = _users()
    pairs = []
    above = disk
    for below in disk.layers:
        others = [one for one in users[below.folder] if one != above.folder]
        if any(not one.is_relative_to(model.SNAPSHOTS) for one in others):
            # Hosts of another lab may be running on this layer and on those below it.
            break
        if not others and merge.possible(above.upper) and merge.possible(below.upper):
            pairs.append((above, below))
        above = below
    return pairs


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


def _users() -> dict[Path, list[Path]]:
    """Return the folders of the disks, layers and snapshots that lie directly on each layer."""
    users: dict[Path, list[Path]] = {}
    for link in (*model.DISKS.glob("*/*/layer"), *model.SNAPSHOTS.glob("*/layers/*")):
        users.setdefault(link.readlink(), []).append(link.parent)
    return users


def _fresh(disk: Disk) -> Path:
    return disk.folder.with_name(f".{disk.folder.name}.new")
