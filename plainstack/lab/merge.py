"""Merge the files of two layers of an overlay that lie on each other and are not mounted."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_OPAQUE = "trusted.overlay.opaque"
_PREFIX = "trusted.overlay."
# What the kernel notes on a folder without which the folder means the same: it only keeps inode numbers stable.
_HARMLESS = {f"{_PREFIX}{name}" for name in ("origin", "impure", "uuid", "protattr")}


def possible(files: Path) -> bool:
    """Return whether `lift` understands every folder: a renamed one refers to its old name in the layers below."""
    return all(_plain(folder) for folder in _folders(files))


def lift(below: Path, above: Path) -> None:
    """Move all files of the lower layer that the upper one does not hide into the upper one.

    After each single step, an overlay of both shows the same files, so a call that was killed can be repeated or left.
    """
    before = above.stat()
    with os.scandir(below) as found:
        entries = list(found)
    for entry in entries:
        source, target = below / entry.name, above / entry.name
        try:
            seen = target.lstat()
        except FileNotFoundError:
            source.rename(target)
            continue
        if not stat.S_ISDIR(seen.st_mode) or _opaque(target):
            continue
        hides = not entry.is_dir(follow_symlinks=False) or _opaque(source)
        if entry.is_dir(follow_symlinks=False):
            lift(source, target)
        if hides:
            # The lower file or folder has hidden what the layers further below have by this name.
            os.setxattr(target, _OPAQUE, b"y")
    os.utime(above, ns=(before.st_atime_ns, before.st_mtime_ns))


def _folders(files: Path) -> Iterator[str]:
    for where, _, _ in os.walk(files):
        yield where


def _plain(folder: str) -> bool:
    try:
        marks = {name for name in os.listxattr(folder) if name.startswith(_PREFIX)} - _HARMLESS
        return not marks or (marks == {_OPAQUE} and os.getxattr(folder, _OPAQUE) == b"y")
    except FileNotFoundError:
        # A running host has just removed it.
        return True


def _opaque(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.getxattr(folder, _OPAQUE, follow_symlinks=False) == b"y"
    return False
