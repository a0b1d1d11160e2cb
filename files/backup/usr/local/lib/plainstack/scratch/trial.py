"""A restore test: a backup is restored, checked, compared with what was recorded about it, and deleted again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import compared
import damage
import postmaster
import record
from base_backup import BaseBackup
from damage import Damaged
from life import Life, Say, Wanted, remove
from place import Cluster, Failed, NoRoom, Place, read_json, write_json
from recovery import Target
from wal_files import Wal, position

NAME = "restore-test"
# Called with a cluster that is up and the result so far; it returns when another host has copied the cluster.
Lend = Callable[[Cluster, dict[str, Any]], None]


class Trial:
    """One restore test. `say` is called with lines of progress.

    With `lend`, the cluster is lent to another host, which checks its tables and keeps the result.
    """

    def __init__(self, place: Place, wanted: Wanted, say: Say, name: str = NAME, lend: Lend | None = None) -> None:
        self._place = place
        self._until = wanted.target
        self._timeline = wanted.timeline
        self._say = say
        self._cluster: Cluster = place.cluster(name)
        # The program that fetches the second copy has tested its files of services.
        files = read_json(place.barman / "files.json") if place.config else {}
        self._life = Life(self._cluster, replace(wanted, serve=bool(lend), or_end=True), say)
        self._lend = lend
        self._lent = False
        self._began = datetime.now(UTC)
        self._problems: list[str] = [f"in the copy, {one}" for one in files.get("problems", ())]
        self._notes: list[str] = list(files.get("notes", ()))
        self._files = files.get("read")
        self._known: dict[str, Any] = {}
        self._spent = 0.0

    def run(self) -> dict[str, Any]:
        """Return the result, which is also kept, unless the cluster was lent: then another host completes it.

        Raises Failed if there is nothing to test, or no room to do so.
        """
        refused: NoRoom | None = None
        try:
            self._restored()
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            self._life.stop()
            why = self._life.explained(error)
            if not hasattr(self._life, "backup"):
                raise why from error
            if isinstance(why, NoRoom) and not self._problems:
                refused = why
            else:
                self._problems.append(str(why))
                self._known["log"] = why.details
        finally:
            self._life.stop()
            remove(self._cluster)
        if refused:
            self._place.refused.parent.mkdir(exist_ok=True)
            about = {
                "at": self._began.isoformat(timespec="seconds"),
                "backup": self._life.backup.id,
                "why": str(refused),
            }
            write_json(self._place.refused, about)
            raise refused
        result = self._result()
        if not self._lent:
            write_json(self._place.tests / f"{self._life.backup.id}.json", result)
            self._place.refused.unlink(missing_ok=True)
        return result

    def _result(self) -> dict[str, Any]:
        return {
            "backup": self._life.backup.id,
            "at": self._began.isoformat(timespec="seconds"),
            "passed": not self._problems,
            "seconds": round(self._spent, 1),
            "rpo_seconds": None,
            "target": self._until.described(),
            "problems": self._problems,
            "notes": self._notes,
            "from_copy": self._place.config is not None,
            "files_from_copy": self._files,
            "lent": self._lent,
            **self._known,
        }

    def _restored(self) -> None:
        self._timed(self._life.restore)
        backup = self._life.backup
        self._say(f"verifying the files of backup {backup.id}")
        damaged = list(damage.of_backup(self._place, backup))
        try:
            self._compare(backup)
            damaged += self._pages()
            self._newest(backup)
        finally:
            # Even if the cluster does not start: damage may be the reason.
            self._problems += [damage.sentence(self._cluster, one) for one in damaged]
        if self._lend and not self._problems:
            self._lent = True
            self._lend(self._cluster, self._result())
            return
        self._say("checking all tables and indexes")
        self._problems += damage.of_tables(self._cluster, backup.size)

    def _compare(self, backup: BaseBackup) -> None:
        """Recover to the moment of the record, or as far as the backup needs, and compare."""
        known = read_json(record.path_of(self._place, backup.id))
        why = self._incomparable(known)
        target = Target("immediate", pause=True) if why else Target("lsn", known["lsn"], pause=True)
        self._timed(lambda: self._life.recover(target))
        if why:
            self._notes.append(f"marker and tables were not compared: {why}")
            return
        self._say("comparing the tables with what was recorded when the backup was taken")
        found = compared.compare(self._cluster, known)
        self._problems += found.problems
        self._notes += found.notes
        self._known |= {"tables": found.tables, "rows": found.rows}

    def _incomparable(self, known: dict[str, Any]) -> str:
        if not known:
            return "nothing was recorded about this backup"
        if "lsn" not in known:
            return f"the tables could not be read when the backup was taken: {known.get('problem', '')}"
        if self._until.kind == "time" and self._until.value < known["at"].replace("T", " "):
            return "the time to recover to is before the record was made"
        timeline, here = int(known["timeline"], 16), self._life.timeline
        wal = Wal.read(self._place.archive, self._life.backup.segment_size)
        left = dict(wal.ancestors.get(here, ())).get(timeline, -1)
        if timeline != here and left < position(known["lsn"]):
            return f"they were recorded on timeline {timeline}, after timeline {here} had branched off"
        return ""

    def _pages(self) -> list[Damaged]:
        self._life.stop()
        self._say("checking the checksums of all pages")
        return list(damage.of_pages(self._cluster))

    def _newest(self, backup: BaseBackup) -> None:
        """Recover as far as asked, and measure how old the newest commit is."""
        looked = datetime.now(UTC)
        wal = Wal.read(self._place.archive, backup.segment_size)
        if not self._timeline and (newest := max(wal.ancestors, default=0)) > self._life.timeline:
            self._notes.append(
                f"timeline {newest} does not contain this backup, so nothing that was written on it was recovered"
            )
        found = self._timed(lambda: self._life.recover(self._until))
        written = found["last_commit"] or postmaster.query(
            self._cluster,
            "select to_char(max(at) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"+00:00\"')"
            " from plainstack.backup_marker",
        )
        commit = datetime.fromisoformat(written or backup.end_time)
        self._known |= {
            "rpo_seconds": round(max(0.0, (looked - commit).total_seconds()), 1),
            "last_commit": commit.isoformat(),
            "reached": found["reached"],
            "timeline": found["timeline"],
            "size_bytes": backup.size,
        }

    def _timed(self, work: Any) -> Any:
        began = time.monotonic()
        try:
            return work()
        finally:
            self._spent += time.monotonic() - began
