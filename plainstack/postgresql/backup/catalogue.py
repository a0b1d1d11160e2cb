"""Barman's catalogue: the backups, and the WAL that the backup host holds, as one script reads them there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from functools import cached_property
from shlex import quote
from typing import Any, Literal, NamedTuple

from plainstack.dataclass import dataclass
from plainstack.errors import PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup.barman import server
from plainstack.postgresql.backup.tested import RestoreTest
from plainstack.shipped import FILES

DONE = "DONE"
# Barman has copied such a backup, but WAL that it needs has not arrived.
WAITING = "WAITING_FOR_WALS"

Kind = Literal["full", "incremental"]


class Tablespace(NamedTuple):
    """A tablespace of a backup; `location` is its path on the db hosts."""

    name: str
    oid: int
    location: str


@dataclass(frozen=True, kw_only=True)
class Backup:
    """An entry of the catalogue; times are in UTC, sizes in bytes. What Barman does not know (yet) is None or empty.

    `parent` is the ID of the backup that an incremental one is based on. `deduplicated` is the size of the files that
    are not shared with another backup, `cluster` that of the restored database cluster. `status` is Barman's: a backup
    can be used if it is DONE. `retention` is how Barman's retention policy judges it (VALID, OBSOLETE, ...), if asked.
    """

    id: str
    kind: Kind = "full"
    parent: str = ""
    status: str = DONE
    begin: datetime | None = None
    end: datetime | None = None
    size: int | None = None
    deduplicated: int | None = None
    cluster: int | None = None
    timeline: int = 0
    begin_wal: str = ""
    end_wal: str = ""
    begin_lsn: str = ""
    end_lsn: str = ""
    tablespaces: tuple[Tablespace, ...] = ()
    retention: str = ""
    error: str = ""

    @property
    def seconds(self) -> float | None:
        """How long the copy took."""
        return (self.end - self.begin).total_seconds() if self.begin and self.end else None

    @property
    def restored_bytes(self) -> int:
        """How many bytes the restored database cluster has; 0 if Barman does not know."""
        return self.cluster or self.size or 0

    def as_data(self) -> dict[str, object]:
        """Return the backup as a JSON object; times are in ISO 8601."""
        return {
            "id": self.id,
            "kind": self.kind,
            "parent": self.parent or None,
            "status": self.status,
            "begin": self.begin.isoformat() if self.begin else None,
            "end": self.end.isoformat() if self.end else None,
            "seconds": self.seconds,
            "size_bytes": self.size,
            "deduplicated_bytes": self.deduplicated,
            "timeline": self.timeline,
            "begin_wal": self.begin_wal,
            "end_wal": self.end_wal,
            "begin_lsn": self.begin_lsn,
            "end_lsn": self.end_lsn,
            "tablespaces": [one.name for one in self.tablespaces],
        }


@dataclass(frozen=True)
class Run:
    """Complete WAL segments of one timeline without a gap, from `first` to `last`, and when these two were received."""

    first: str
    last: str
    begin: datetime
    end: datetime

    @property
    def timeline(self) -> int:
        return timeline_of(self.first)


@dataclass(frozen=True)
class Partial:
    """A WAL segment that is still being received, or that ended with its timeline; `at` is when data last arrived."""

    name: str
    at: datetime


@dataclass(frozen=True)
class Timeline:
    """A timeline: when the backup host got its history, and where its ancestors end."""

    number: int
    at: datetime
    history: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Catalogue:
    """All that the backup host holds: `backups`, `runs` and `timelines` in order, the oldest first.

    `history` is where the ancestors of the newest timeline end, as pairs of a timeline and an LSN, the oldest first.
    `timelines` lacks those without ancestors. `clock_skew` is by how many seconds the host's clock was last found ahead
    of the primary's. `test_refused` is why the last restore test could not run; empty if it could.
    """

    server: str
    backups: tuple[Backup, ...] = ()
    runs: tuple[Run, ...] = ()
    partials: tuple[Partial, ...] = ()
    history: tuple[tuple[int, str], ...] = ()
    timelines: tuple[Timeline, ...] = ()
    restore_tests: Mapping[str, RestoreTest] = field(default_factory=dict)
    segment_bytes: int = 2**24
    clock_skew: float = 0
    test_refused: str = ""

    @cached_property
    def by_id(self) -> Mapping[str, Backup]:
        return {backup.id: backup for backup in self.backups}

    @cached_property
    def usable(self) -> tuple[Backup, ...]:
        """The backups that can be restored: they, and all that they are based on, are complete."""
        return tuple(backup for backup in self.backups if self.chain(backup))

    def chain(self, backup: Backup) -> tuple[Backup, ...]:
        """Return a backup with those that it is based on, the full one first; empty if one is missing or incomplete."""
        found: tuple[Backup, ...] = (backup,)
        while found[0].parent:
            parent = self.by_id.get(found[0].parent)
            if parent is None or parent in found:
                return ()
            found = (parent, *found)
        return found if all(one.status == DONE for one in found) else ()

    @property
    def newest(self) -> Backup | None:
        """The newest usable backup."""
        return self.usable[-1] if self.usable else None

    @property
    def received(self) -> Partial | None:
        """The newest WAL that was received: the segment, complete or not, and when its last data arrived."""
        ends = [*(Partial(run.last, run.end) for run in self.runs), *self.partials]
        return max(ends, key=lambda end: end.name, default=None)


def timeline_of(segment: str) -> int:
    """Return the timeline of a WAL segment by its name."""
    return int(segment[:8], 16)


def script(stack: Stack, *, retention: bool = False) -> str:
    """Return shell code for root on the backup host that prints the catalogue, as `parse` reads it.

    It takes some tens of milliseconds; with `retention` it starts Barman, which takes one or two seconds.
    """
    # Sent with the script, so that it works even before a deploy has installed its newest version on the host.
    text = (FILES / "backup/usr/local/lib/plainstack/backup-catalogue").read_text(encoding="utf-8")
    options = " --retention" if retention else ""
    return f"python3 -I -c {quote(text)} {quote(server(stack))}{options}\n"


def parse(text: str) -> Catalogue:
    """Return the catalogue that `script` printed on the last line of `text`. Raises PlainstackError."""
    last = next((line for line in reversed(text.split("\n")) if line.strip()), "")
    try:
        data: dict[str, Any] = json.loads(last)
        return Catalogue(
            server=data["server"],
            backups=tuple(_backup(one, data["retention"]) for one in data["backups"]),
            runs=tuple(Run(one["first"], one["last"], _at(one["from"]), _at(one["to"])) for one in data["runs"]),
            partials=tuple(Partial(one["name"], _at(one["at"])) for one in data["partial"]),
            history=_ends(data["history"]),
            timelines=tuple(
                Timeline(one["timeline"], _at(one["at"]), _ends(one["history"])) for one in data["timelines"]
            ),
            restore_tests={key: RestoreTest.parse(key, one) for key, one in data["restore_tests"].items()},
            segment_bytes=int(data["segment_bytes"]),
            clock_skew=float(data["clock_skew"]),
            test_refused=str(data["restore_test_refused"].get("why", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PlainstackError(f"the backup host did not print Barman's catalogue but {last[:200]!r}") from None


def _backup(data: dict[str, Any], retention: Mapping[str, str]) -> Backup:
    return Backup(
        id=data["id"],
        kind="incremental" if data["parent"] else "full",
        parent=data["parent"] or "",
        status=data["status"] or "EMPTY",
        begin=_time(data["begin_time"]),
        end=_time(data["end_time"]),
        size=data["size"],
        deduplicated=data["deduplicated_size"],
        cluster=data["cluster_size"],
        timeline=data["timeline"] or 0,
        begin_wal=data["begin_wal"] or "",
        end_wal=data["end_wal"] or "",
        begin_lsn=data["begin_xlog"] or "",
        end_lsn=data["end_xlog"] or "",
        tablespaces=tuple(Tablespace(name, int(oid), location) for name, oid, location in data["tablespaces"]),
        retention=retention.get(data["id"], ""),
        error=data["error"] or "",
    )


def _ends(pairs: list[list[Any]]) -> tuple[tuple[int, str], ...]:
    return tuple((int(timeline), str(lsn)) for timeline, lsn in pairs)


def _time(text: str | None) -> datetime | None:
    return _utc(datetime.fromisoformat(text)) if text else None


def _utc(time: datetime) -> datetime:
    # Barman writes times with their offset; the hosts of a stack run in UTC.
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
