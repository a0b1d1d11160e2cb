"""Disks of limited size: a file system in a file on top of the host's disk, so that the disk can really fill up."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from plainstack.lab import model
from plainstack.lab.disk import Disk
from plainstack.lab.model import LabHost
from plainstack.ssh.netns import LabError
from plainstack.wording import size

_FILE = "limited.ext4"


def refuse_impossible(hosts: Iterable[LabHost]) -> None:
    """Raise LabError for each limit that is more than this machine's file system allows for a file."""
    model.DISKS.mkdir(parents=True, exist_ok=True)
    problems = []
    with tempfile.TemporaryFile(dir=model.DISKS) as file:
        for host in hosts:
            try:
                file.truncate(host.room or 0)
            except OSError as error:
                problems.append(
                    f"{host.name}: lab.disks.{host.name}: the file system of {model.DISKS} cannot hold a file of"
                    f" {size(host.room or 0)} ({error.strerror}). Choose a smaller size"
                )
    if problems:
        raise LabError("\n".join(problems))


def limited(disk: Disk) -> bool:
    """Return whether the disk has a size limit."""
    return _file(disk).exists()


def missing(disk: Disk, host: LabHost) -> bool:
    """Return whether the disk should have a size limit but does not yet."""
    return host.room is not None and not limited(disk)


def make(disk: Disk, host: LabHost) -> None:
    """Limit the disk of a host that is not running; its existing files stay, and do not count."""
    half = disk.folder / "limited.half"
    with half.open("wb") as file:
        file.truncate(host.room or 0)
    command = ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(half)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{host.name}: mkfs.ext4: {done.stderr.strip()}")
    half.rename(_file(disk))


def check(disk: Disk, host: LabHost) -> None:
    """Raise LabError if the disk was made with a different size."""
    if limited(disk) and _file(disk).stat().st_size != host.room:
        raise LabError(
            f"{host.name}: its disk was made with {_file(disk).stat().st_size >> 20} MiB, but lab.disks has"
            " another size. A disk's size cannot change: inv lab.down, then inv lab.up"
        )


def refuse_rewrite(disk: Disk, host: LabHost) -> None:
    """Raise LabError if the lab's own files on the disk cannot be changed."""
    if limited(disk):
        raise LabError(
            f"{host.name}: its settings have changed, but a disk of limited size cannot be updated:"
            " inv lab.down, then inv lab.up"
        )


def _file(disk: Disk) -> Path:
    return disk.folder / _FILE
