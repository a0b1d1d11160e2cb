"""PostgreSQL's restore_command: fetch.py ARCHIVE SEGMENT_SIZE FILE TARGET copies a WAL file out of Barman's folders.

Barman's own command copies all WAL since the backup beforehand, and leaves out the segment that is still being
received, which holds the newest rows.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZ": bz2.open,
    b"\xfd7": lzma.open,
}


def candidates(archive: Path, name: str) -> Iterator[Path]:
    """Yield the paths at which a WAL or history file can be, the complete ones first."""
    hashed = archive / "wals" / (name[:16] if len(name) == 24 else "")
    for folder in (hashed, archive / "streaming", archive / "incoming"):
        yield folder / name
    # Barman moves a file on while this program looks for it.
    yield hashed / name
    for folder in (archive / "streaming", hashed):
        yield folder / f"{name}.partial"


def opened(path: Path) -> BinaryIO:
    """Open a WAL file, whatever Barman compressed it with."""
    with path.open("rb") as file:
        magic = file.read(2)
    opener = _OPENERS.get(magic)
    found: BinaryIO = opener(path, "rb") if opener else path.open("rb")
    return found


def fetch(archive: Path, size: int, name: str, target: Path) -> bool:
    """Copy a file to its target; return whether there is one. A file that is still being received is padded with zeros.

    Raises OSError if the disk of the target is full.
    """
    for path in candidates(archive, name):
        try:
            with opened(path) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
                if path.suffix == ".partial":
                    if copy.tell() == 0:
                        continue
                    copy.truncate(size)
        except FileNotFoundError:
            continue
        except (OSError, EOFError, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            sys.stderr.write(f"WAL file {path} is damaged: {error}\n")
            return False
        return True
    return False


if __name__ == "__main__":
    try:
        sys.exit(0 if fetch(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])) else 1)
    except OSError as failure:
        sys.exit(f"WAL file {sys.argv[3]} was not restored: {failure}")
