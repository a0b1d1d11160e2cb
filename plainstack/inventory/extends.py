"""`extends: base.yaml` in an inventory: mappings are merged, other values are replaced, and null removes a key.

Relative paths are relative to the file that contains them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plainstack.errors import InventoryError
from plainstack.inventory import yaml_reader
from plainstack.inventory.yaml_reader import Text
from plainstack.wording import Loc, quoted, shortened

KEY = "extends"
MAX_FILES = 8

ReadFile = Callable[[Path, str], str]


def read(text: str, name: str, folder: Path, read_file: ReadFile, is_path: Callable[[Loc], bool]) -> Text:
    """Parse an inventory's text and merge it with every file that it extends.

    `name` is the file's name in errors, and `read_file` returns the text of a path, given the path and its name in
    errors. `is_path` says whether the value at a place is a path. Raises InventoryError.
    """
    found = yaml_reader.read(text, name)
    chain = [(folder / Path(name).name).resolve()]
    shown = name
    while found.data is not None and KEY in found.data:
        there = found.place((KEY,))
        wanted = found.data.pop(KEY)
        if not isinstance(wanted, str) or not wanted.strip() or "\0" in wanted:
            given = "nothing" if wanted is None else quoted(wanted)
            raise InventoryError([f"{there}: extends: must be the path of another inventory (given: {given})"])
        path = (chain[-1].parent / wanted).resolve()
        shown = os.path.normpath(Path(shown).parent / wanted)
        if path in chain:
            raise InventoryError([f"{there}: extends: {shortened(shown)} extends this file, so they form a loop"])
        if len(chain) == MAX_FILES:
            raise InventoryError([f"{there}: extends: more than {MAX_FILES} files in one chain"])
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise InventoryError([f"{there}: extends: {shortened(shown)} is not a regular file"])
            content = read_file(path, shown)
        except FileNotFoundError:
            raise InventoryError([f"{there}: extends: there is no file {shortened(shown)}"]) from None
        except OSError as error:
            raise InventoryError([f"{there}: extends: {shortened(shown)}: {error.strerror}"]) from None
        below = yaml_reader.read(content, shown)
        if below.data is None:
            raise InventoryError([f"{shown}:1: an inventory is a mapping; {there} extends it"])
        if path.parent != folder.resolve():
            _from_folder(below, below.data, (), path.parent, folder.resolve(), is_path)
        found = _merged(found, below)
        chain.append(path)
    return found


def _from_folder(below: Text, data: Any, loc: Loc, there: Path, here: Path, is_path: Callable[[Loc], bool]) -> None:
    """Rewrite the relative paths of a file in the folder `there` so that they are relative to `here`."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        at = (*loc, key)
        if isinstance(value, str) and is_path(at) and value and "\0" not in value:
            data[key] = os.path.relpath(there / value, here) if not Path(value).is_absolute() else value
        else:
            _from_folder(below, value, at, there, here, is_path)


def _merged(over: Text, below: Text) -> Text:
    """Merge `over` into `below`; where both have a value, the one in `over` wins."""
    merged = Text(names=[*over.names, *below.names], problems=list(over.problems))
    shift = len(over.names)
    merged.problems += [((file + shift, line), what) for (file, line), what in below.problems]
    _take(merged, over, (), 0)
    merged.data = _combine(over.data or {}, below.data or {}, (), merged, below, shift)
    return merged


def _combine(over: dict[str, Any], below: dict[str, Any], loc: Loc, merged: Text, source: Text, shift: int) -> Any:
    data = dict(below)
    for key in below.keys() - over.keys():
        _take(merged, source, (*loc, key), shift)
    for key, value in over.items():
        if value is None and key in below:
            del data[key]
            merged.lines.pop((*loc, key), None)
        elif isinstance(value, dict) and isinstance(below.get(key), dict):
            data[key] = _combine(value, below[key], (*loc, key), merged, source, shift)
        else:
            data[key] = value
    return data


def _take(merged: Text, source: Text, below: Loc, shift: int) -> None:
    """Copy the lines and the written texts of `below` and of all places under it from `source` to `merged`."""
    for loc, (file, line) in source.lines.items():
        if loc[: len(below)] == below:
            merged.lines[loc] = (file + shift, line)
            if loc in source.written:
                merged.written[loc] = source.written[loc]
