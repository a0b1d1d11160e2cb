"""What is recorded about a backup when it is taken, so that a restore test can compare it with what was restored."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import contents
from contents import Unreadable
from place import Place, write_json

# Seconds for the tables of the whole database. A longer transaction would keep the primary from cleaning up.
LIMIT = 900.0


def mark(conninfo: str) -> str:
    """Write a marker row in the primary, which the next backup must contain; return its id, or "" if that fails."""
    marker = str(uuid.uuid4())
    # The row is in the WAL even if no standby confirms it.
    text = "set synchronous_commit = local; "
    text += f"insert into plainstack.backup_marker (id) values ('{marker}');"  # noqa: S608 - our own UUID
    words = ["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", text, conninfo]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.stderr.write(f"no marker row was written before the backup: {' '.join(ran.stderr.split())}\n")
        return ""
    return marker


def record(place: Place, conninfo: str, identity: str, marker: str) -> None:
    """Write the record of a backup: its marker, and the contents of the stack's database after it.

    The backup is usable without a record, so problems are only noted in the record.
    """
    known: dict[str, Any] = {"backup": identity, "marker": marker or None, "database": place.database}
    try:
        printed = contents.run(["psql", "-d", f"{conninfo} dbname={place.database}"], contents.record_script(), LIMIT)
        known |= parse(printed)
    except Unreadable as error:
        known["problem"] = str(error)
        sys.stderr.write(f"what the tables contain was not recorded: {error}\n")
    write_json(path_of(place, identity), known)
    tidy(place)


def parse(printed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the snapshot and the tables that the script printed; tables that could not be read are in `unread`."""
    head, *rest = printed
    read = {one["table"]: {key: one[key] for key in ("rows", "hash", "percent")} for one in rest if "rows" in one}
    return {**head, "tables": read, "unread": sorted({one["table"] for one in rest} - set(read))}


def path_of(place: Place, identity: str) -> Path:
    """Return the path of a backup's record."""
    return place.records / f"{identity}.json"


def tidy(place: Place) -> None:
    """Delete the records and test results of backups that Barman has deleted."""
    kept = {path.name.removesuffix("-backup.info") for path in place.archive.glob("meta/*-backup.info")}
    for folder in (place.records, place.tests):
        for path in folder.glob("*.json"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)
