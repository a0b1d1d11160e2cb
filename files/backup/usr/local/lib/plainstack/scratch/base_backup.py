"""Base backups as Barman's catalogue describes them."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from place import Failed, Place


@dataclass(frozen=True)
class BaseBackup:
    """A usable base backup; `size` is that of the restored cluster, `tablespaces` their locations on the db host.

    `begin` and `end` are the positions between which it was taken, and `chain` its id, followed by those of the backups
    that it is combined with.
    """

    id: str
    timeline: int
    begin: str
    end: str
    end_time: str
    size: int
    chain: tuple[str, ...]
    tablespaces: dict[str, str]
    segment_size: int


def _entry(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def _end(manifest: Path) -> str:
    """Return the position at which the backup ends, or an empty text if its manifest does not say so.

    Barman's catalogue has the end of the segment instead, and a timeline may have begun between the two.
    """
    try:
        with manifest.open("rb") as file:
            file.seek(max(0, manifest.stat().st_size - 4096))
            ends = re.findall(rb'"End-LSN": "([0-9A-F]+/[0-9A-F]+)"', file.read())
    except OSError:
        return ""
    return ends[-1].decode() if ends else ""


def find(place: Place, wanted: str) -> BaseBackup:
    """Return the backup of an id, or the newest usable one for `latest`. Raises Failed if it cannot be restored."""
    # Ids are dates, so names sort by time.
    usable = {
        path.name.removesuffix("-backup.info"): entry
        for path in sorted(place.archive.glob("meta/*-backup.info"))
        if (entry := _entry(path)).get("status") == "DONE"
    }
    if wanted == "latest":
        if not usable:
            raise Failed("there is no usable backup; take one: inv backup-now")
        wanted = list(usable)[-1]
    if wanted not in usable:
        listed = ", ".join(list(usable)[-5:]) or "none"
        raise Failed(f"{wanted}: there is no usable backup with this id; the newest ones are: {listed}")
    entry = usable[wanted]
    chain = [wanted]
    while (parent := usable.get(chain[-1], {}).get("parent_backup_id", "None")) != "None":
        if parent not in usable:
            raise Failed(
                f"backup {chain[-1]} is incremental, and its parent {parent} is missing from Barman's catalogue"
            )
        chain.append(parent)
    spaces = ast.literal_eval(entry.get("tablespaces", "None")) or []
    return BaseBackup(
        wanted,
        int(entry["timeline"]),
        entry["begin_xlog"],
        _end(place.archive / "base" / wanted / "data/backup_manifest") or entry["end_xlog"],
        entry["end_time"],
        int(entry.get("cluster_size") or entry["size"]),
        tuple(chain),
        {name: location for name, _, location in spaces},
        int(entry.get("xlog_segment_size", 16 * 2**20)),
    )
