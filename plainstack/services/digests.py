"""Caches the digests of a large source's files between runs, so that unchanged files are not read again.

The file with them is a cache: it can be deleted at any time. A digest is used only for a file with the same size, times
and inode as when it was computed. It is kept only if the file had not been written to for a while before it was read:
a later change within the resolution of the file system's clock would leave no trace (git calls such files racy).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from plainstack import state_folder
from plainstack.services.source import Found, Mark

# Nanoseconds. The coarsest clocks of file systems in use, FAT and old network file systems, count in steps of 2 s.
_RESOLUTION = 3_000_000_000
# A smaller source is read in a moment, and needs no cache.
_WORTHWHILE = 500

Kept = Mapping[str, tuple[Mark, str]]


def digests(files: Iterable[Found], place: Path) -> Iterator[tuple[Found, str]]:
    """Yield each file with its sha256, read from the file or from the cache at `place`. Raises OSError."""
    files = list(files)
    worthwhile = len(files) >= _WORTHWHILE
    kept = _read(place) if worthwhile else {}
    began = time.time_ns()
    found: dict[str, tuple[Mark, str]] = {}
    for file in files:
        before = kept.get(file.inside)
        if before is not None and before[0] == file.mark:
            digest = before[1]
        else:
            with open(file.path, "rb") as content:  # noqa: PTH123 - a Path for each of 10,000 files takes as long as reading
                digest = sha256(content.read()).hexdigest()
        if settled(file.mark, began):
            found[file.inside] = (file.mark, digest)
        yield file, digest
    if worthwhile and found != kept:
        # Without the cache, the next run is only slower.
        with contextlib.suppress(OSError):
            _write(place, found)


def settled(mark: Mark, now: int) -> bool:
    """Return whether a change after `now` would certainly give a file other times than `mark`."""
    _, modified, changed, _, _ = mark
    return max(modified, changed) + _RESOLUTION < now


def _read(place: Path) -> dict[str, tuple[Mark, str]]:
    """Return the cached digests; malformed ones are left out."""
    try:
        data = json.loads(place.read_bytes())
        return {
            inside: ((size, modified, changed, inode, device), digest)
            for inside, (size, modified, changed, inode, device, digest) in data.items()
            if isinstance(digest, str) and len(digest) == 64
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _write(place: Path, found: Kept) -> None:
    state_folder.make(place.parent)
    half = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        half.write_text(json.dumps({inside: [*mark, digest] for inside, (mark, digest) in found.items()}))
        half.replace(place)
    finally:
        half.unlink(missing_ok=True)
