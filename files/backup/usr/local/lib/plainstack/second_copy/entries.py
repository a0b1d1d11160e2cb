"""Barman's catalogue as files: which backups are usable and complete, and which of the copy are no longer needed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

Entry = Mapping[str, str]
_SEGMENT = re.compile(r"[0-9A-F]{24}(\.partial)?")
_SUFFIX = "-backup.info"


def read(folder: Path) -> dict[str, Entry]:
    """Return the usable backups in a folder of Barman's .info files by id, the oldest first."""
    found: dict[str, Entry] = {}
    # Ids are dates, so names sort by time.
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            continue
        entry = dict(line.split("=", 1) for line in lines if "=" in line)
        if entry.get("status") == "DONE":
            found[path.name.removesuffix(_SUFFIX)] = entry
    return found


def info(backup: str) -> str:
    """Return the file name of a backup's entry."""
    return f"{backup}{_SUFFIX}"


def chain(entries: Mapping[str, Entry], backup: str) -> list[str]:
    """Return a backup, followed by those that it is based on; the last one may be missing from the entries."""
    found = [backup]
    while (parent := entries.get(found[-1], {}).get("parent_backup_id", "None")) != "None":
        found.append(parent)
    return found


def complete(base: Path) -> bool:
    """Return whether all files that a backup's manifest lists exist below `base`, in their size."""
    data = base / "data"
    try:
        files = json.loads((data / "backup_manifest").read_text())["Files"]
        return all((data / _path(file)).stat().st_size == file["Size"] for file in files)
    except (OSError, ValueError, KeyError):
        return False


def _path(file: Mapping[str, str]) -> str:
    # PostgreSQL writes a path in hexadecimal digits if it is not UTF-8.
    encoded = file.get("Encoded-Path")
    return base64.b16decode(encoded, casefold=True).decode(errors="surrogateescape") if encoded else file["Path"]


def unknown(theirs: Collection[str], ours: Collection[str], copied: Collection[str]) -> list[str]:
    """Return the backups of the copy that this host neither has nor has copied: it may have been rebuilt."""
    return sorted(set(theirs) - set(ours) - set(copied))


def removable(theirs: Mapping[str, Entry], ours: Mapping[str, Entry], copied: Collection[str]) -> list[str]:
    """Return the backups that the copy need not keep: older than all that this host still has, and copied by it.

    There are none if the copy has a backup that this host does not know, or if this host has none.
    """
    if not ours or unknown(theirs, ours, copied):
        return []
    oldest = min(ours)
    old = {backup for backup in theirs if backup not in ours and backup < oldest}
    needed = {parent for kept in set(theirs) - old for parent in chain(theirs, kept)}
    return sorted(old - needed)


def old_wal(names: Iterable[str], kept: Mapping[str, Entry]) -> list[str]:
    """Return the WAL files that are older than all backups that are kept; only the last part of each path counts."""
    begins = [entry["begin_wal"][8:] for entry in kept.values() if _SEGMENT.fullmatch(entry.get("begin_wal", ""))]
    if not begins:
        return []
    # Numbers of segments grow across timelines, and history files are small.
    return [name for name in names if _number(name) and _number(name) < min(begins)]


def needed_wal(names: Iterable[str], entry: Entry) -> list[str]:
    """Return the WAL files with which a backup can be recovered; only the last part of each path counts."""
    begin = entry["begin_wal"][8:]
    return [name for name in names if name.endswith(".history") or _number(name) >= begin]


def _number(path: str) -> str:
    name = path.rpartition("/")[2]
    return name[8:24] if _SEGMENT.fullmatch(name) else ""
