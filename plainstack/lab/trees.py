"""Remove folders with everything in them, many files at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Some disks discard the blocks of each file before its removal returns. One file at a time, removing four hosts took a
# minute.
_AT_ONCE = 16


def remove(folders: Iterable[Path]) -> None:
    """Remove folders, of which none contains another. Raises FileNotFoundError if one does not exist."""
    roots = list(folders)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(_remove_files, [place for root in roots for place in _with_all_below(root)]))
        list(pool.map(shutil.rmtree, roots))


def _with_all_below(folder: Path) -> Iterator[Path]:
    yield folder
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            yield from _with_all_below(each)


def _remove_files(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_symlink() or not each.is_dir():
            each.unlink()
