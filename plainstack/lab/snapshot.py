"""Snapshots of labs: the layers of the hosts, secrets and keys, and the stack and commit that they were made from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plainstack import state_folder
from plainstack.dataclass import dataclass
from plainstack.lab import disk, layers, model, owner
from plainstack.lab.disk import Disk
from plainstack.lab.model import Lab, LabHost
from plainstack.ssh.netns import LabError

_ABOUT = "snapshot.json"
_KEYS = ("id_ed25519", "id_ed25519.pub")


@dataclass(frozen=True)
class Origin:
    """The origin of a snapshot: the stack, its inventory's path and digest, and the commit that deployed it."""

    stack: str
    inventory: str
    digest: str
    commit: str


@dataclass(frozen=True)
class Snapshot:
    """A saved lab. `hosts` are [private, public] addresses by name, and the public IPv6 address of those that have one.

    `size` is in bytes, without the image.
    """

    name: str
    created: str
    image: str
    user: str
    hosts: dict[str, list[str | None]]
    size: int
    origin: Origin

    @property
    def folder(self) -> Path:
        """The folder of the snapshot."""
        return model.SNAPSHOTS / self.name

    def age(self, now: datetime) -> float:
        """Return the snapshot's age in seconds."""
        return (now - datetime.fromisoformat(self.created)).total_seconds()


def read(name: str) -> Snapshot:
    """Return a snapshot by name. Raises LabError if there is none, or if its description cannot be used."""
    model.check_name(name, "a snapshot")
    if name not in (known := _names()):
        raise LabError(
            f"there is no snapshot {name}. "
            + (f"Snapshots: {', '.join(known)}" if known else "To make one: inv lab.save NAME")
        )
    try:
        return _parse(name, json.loads((model.SNAPSHOTS / name / _ABOUT).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise LabError(
            f"the snapshot {name} was saved by another version of Plainstack, or is damaged."
            f" Remove it: inv lab.forget {name}"
        ) from None


def every() -> tuple[list[Snapshot], list[str]]:
    """Return all snapshots of this machine that can be used, the oldest first, and for each other why it cannot."""
    found, unusable = [], []
    for name in _names():
        try:
            found.append(read(name))
        except LabError as error:
            unusable.append(str(error))
    return sorted(found, key=lambda snapshot: snapshot.created), unusable


def _names() -> list[str]:
    folders = model.SNAPSHOTS.iterdir() if model.SNAPSHOTS.is_dir() else ()
    return sorted(path.name for path in folders if model.valid_name(path.name))


def _parse(name: str, data: dict[str, Any]) -> Snapshot:
    """Return a snapshot from its description. Raises one of several errors if that is not what `write` writes."""
    found = Snapshot(**{**data, "origin": Origin(**data["origin"])})
    texts = (found.created, found.image, found.user, *asdict(found.origin).values())
    addresses = [address for host, each in found.hosts.items() for address in (host, *each)]
    if not (
        found.name == name
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(address, str | None) for address in addresses)
        and isinstance(found.size, int)
        and datetime.fromisoformat(found.created).tzinfo is not None
    ):
        raise ValueError(name)
    return found


def write(lab: Lab, name: str, origin: Origin, files: Mapping[str, Path]) -> Snapshot:
    """Save the disks of a stopped lab, its keys, and the `files` that exist, as a snapshot.

    The lab gets new disks on top of the snapshot's layers.
    """
    half = model.SNAPSHOTS / f".{name}.half"
    shutil.rmtree(half, ignore_errors=True)
    (half / "layers").mkdir(parents=True)
    (half / "state").mkdir()
    half.chmod(0o700)
    for key, path in {**files, **{key: lab.state / key for key in _KEYS}}.items():
        if path.exists():
            shutil.copy2(path, half / "state" / key)
    size = 0
    for host in lab.hosts:
        place = disk.of(lab, host)
        image = place.image
        layer = layers.freeze(place)
        (half / "layers" / host.name).symlink_to(layer)
        size += _size(layer / "upper") + sum(_size(below) for below in Disk(layer).lowers[:-1])
    # Nothing syncs the hosts' disks while they run.
    subprocess.run(["sync", "--file-system", str(model.LAYERS)], check=True)
    hosts: dict[str, list[str | None]] = {host.name: _addresses(host) for host in lab.hosts}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    made = Snapshot(name, created, image.name, lab.user, hosts, size, origin)
    (half / _ABOUT).write_text(json.dumps(asdict(made), indent=2) + "\n", encoding="utf-8")
    half.rename(made.folder)
    return made


def place(snapshot: Snapshot, lab: Lab, files: Mapping[str, Path]) -> list[Path]:
    """Make the disks of a lab from a snapshot, and restore its files. The lab must not have disks.

    A file with other content is renamed and stays next to the restored file; return the new names.
    """
    kept = []
    for key, path in files.items():
        mine = snapshot.folder / "state" / key
        if path.exists() and not (mine.exists() and path.read_bytes() == mine.read_bytes()):
            aside = path.with_name(f"{path.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
            path.rename(aside)
            kept.append(aside)
    state_folder.make(lab.state)
    for key, path in {**files, **{key: lab.state / key for key in _KEYS}}.items():
        mine = snapshot.folder / "state" / key
        if mine.exists():
            half = path.with_name(f".{path.name}.half")
            # Nobody else may read a secret while it is being copied.
            half.unlink(missing_ok=True)
            half.touch(mode=0o600)
            shutil.copy2(mine, half)
            half.rename(path)
    disks = model.DISKS / f".{lab.name}.half"
    shutil.rmtree(disks, ignore_errors=True)
    for host in lab.hosts:
        layer = (snapshot.folder / "layers" / host.name).readlink()
        layers.make_on(Disk(disks / host.name), layer, layer)
    owner.write(lab, disks)
    # Rename all disks at once: in a lab with half of its disks, lab.up would create the others empty.
    disks.rename(lab.disks)
    return kept


def forget(name: str) -> None:
    """Remove a snapshot, even one that cannot be used; its layers stay as long as a lab uses them.

    Raises LabError if there is none.
    """
    model.check_name(name, "a snapshot")
    folder = model.SNAPSHOTS / name
    if not folder.is_dir():
        read(name)
    gone = folder.with_name(f".{name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone)
    layers.sweep()


def stale(snapshot: Snapshot, lab: Lab, stack: str, image: Path) -> list[str]:
    """Return the reasons why the lab of an inventory cannot start from a snapshot."""
    problems = []
    if snapshot.image != image.name:
        problems.append(f"its hosts use the image {snapshot.image}, but the current recipe makes {image.name}")
    elif not image.is_dir():
        problems.append(f"the image {image} that its hosts use is missing")
    if snapshot.origin.stack != stack:
        problems.append(f"it belongs to the stack {snapshot.origin.stack}, not {stack}")
    if snapshot.user != lab.user:
        problems.append(f"its hosts accept logins as {snapshot.user}, but the inventory says ssh.user: {lab.user}")
    wanted: dict[str, list[str | None]] = {host.name: _addresses(host) for host in lab.hosts}
    for name in sorted(wanted.keys() | snapshot.hosts.keys()):
        if name not in snapshot.hosts:
            problems.append(f"it has no host {name}")
        elif name not in wanted:
            problems.append(f"its host {name} is not in the inventory")
        elif snapshot.hosts[name] != wanted[name]:
            before, now = (" and ".join(filter(None, each[name])) for each in (snapshot.hosts, wanted))
            problems.append(f"its {name} has {before}, but the inventory says {now}")
    return problems


def _addresses(host: LabHost) -> list[str | None]:
    # Only hosts with a public IPv6 address have a third entry, so snapshots from before there were any stay usable.
    return [host.address, host.public, *([host.public6] if host.public6 else [])]


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        total += sum(os.lstat(f"{where}/{name}").st_blocks for name in names) * 512
    return total
