"""Stamps: hashes of the inputs that a unit last loaded, recorded on the host.

If the hash of the current inputs differs from the stamp, the unit owes a reload or a restart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from plainstack.engine.kinds.kind import Resource
from plainstack.engine.kinds.path_resources import Absent, File, Link

if TYPE_CHECKING:
    from plainstack.engine.kinds.unit import Unit

_UNIT_FOLDER = "/etc/systemd/system/"
_INPUTS = (File, Link, Absent)


def reread_stamp(role: str) -> str:
    """Return the name of the stamp of a role's unit files, which records the last daemon-reload."""
    return f"daemon-reload.{role}"


def is_unit_file(path: str) -> bool:
    """Return whether a path is a unit file, which systemd reads with daemon-reload."""
    return path.startswith(_UNIT_FOLDER)


def inputs(unit: Unit, managed: Sequence[Resource], *, reload: bool = True) -> frozenset[str]:
    """Return the managed paths that a unit reads; without `reload`, only those that it reads at a restart."""
    return frozenset(item.path for item in _read(unit, managed, reload=reload))


def _read(unit: Unit, managed: Sequence[Resource], *, reload: bool) -> list[File | Link | Absent]:
    named = {*unit.restart_on, *(unit.reload_on if reload else ()), *_own_files(unit.name)}
    folders = tuple([name for name in named if name.endswith("/")] + [f"{own}.d/" for own in _own_files(unit.name)])
    # The path is compared first: isinstance is slow for abstract classes, and every plan comes here for each unit.
    return [
        item
        for item in managed
        if (path := getattr(item, "path", "")) and (path in named or path.startswith(folders))
        if isinstance(item, _INPUTS)
    ]


@cache
def _own_files(name: str) -> tuple[str, ...]:
    full = name if re.search(r"\.(service|timer|socket|path|mount|target)$", name) else f"{name}.service"
    template = re.sub(r"@[^.]*\.", "@.", full)
    return tuple(_UNIT_FOLDER + file for file in dict.fromkeys((full, template)))


def unit_stamp(unit: Unit, managed: Sequence[Resource]) -> str:
    """Return the stamp of a unit: the hash of its restart inputs, a space, and the hash of its reload inputs.

    The second hash also covers the files among the restart inputs. The stamp is empty for a unit without
    inputs, which never owes a reload.
    """
    both = _read(unit, managed, reload=True)
    restart = _hash(unit.restart_on, _read(unit, both, reload=False))
    reload = _hash(unit.reload_on, both)
    return "" if not restart and not reload else f"{restart or '-'} {reload or '-'}"


def stamp_without(unit: Unit, managed: Sequence[Resource], touched: set[str], kept: str) -> str:
    """Return the stamp to record for a unit after the paths `touched` have changed and before the unit loads them.

    It keeps the restart hash if the unit owes only a reload, so that a run after an interruption does not restart it.
    """
    if inputs(unit, managed, reload=False) & touched:
        return ""
    return f"{kept.partition(' ')[0]} ?"


def reloads(managed: Sequence[Resource]) -> str:
    """Return the hash of all unit files of a role, which systemd loads with daemon-reload."""
    return _hash((), [item for item in managed if isinstance(item, File) and is_unit_file(item.path)])


def _hash(named: Sequence[str], found: Sequence[File | Link | Absent]) -> str:
    tokens = sorted(name for name in named if not name.startswith("/"))
    lines = [f"token {token}" for token in tokens]
    for item in sorted(found, key=lambda item: item.key):
        if isinstance(item, File):
            lines.append(f"{item.path} {item.sha256} {item.mode:04o} {item.owner}:{item.group}")
        elif isinstance(item, Link):
            lines.append(f"{item.path} -> {item.target}")
        else:
            lines.append(f"{item.path} absent")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24] if lines else ""
