"""Room on the disk of the backup host: what a scratch cluster needs and has."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from place import NoRoom

# Room that a cluster needs besides its data: for WAL between two checkpoints, and for WAL that Barman receives.
SPARE = 512 * 2**20
_MIB = 2**20


def room(folder: Path, size: int) -> None:
    """Raise NoRoom if a cluster of a size in bytes does not fit on the disk of a folder."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    needed = size + SPARE
    if free < needed:
        raise NoRoom(
            f"the disk of {folder} is too small: {megabytes(needed)} are needed, {megabytes(free)} are free. Free some"
            " there or make it larger. Nothing was restored, and nothing else has changed"
        )


def megabytes(size: int) -> str:
    """Return a size in bytes in MB."""
    return f"{size // _MIB} MB"


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder, some of which may vanish meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{path}/{name}").st_size
    return total
