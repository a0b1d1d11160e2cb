"""The snapshots of services' folders in `inv backups`, in `inv status` and for a restore."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.engine.sayings import Answers, Status
from plainstack.errors import PlainstackError, Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup.listing import moment
from plainstack.postgresql.backup.schedule import max_age_hours
from plainstack.postgresql.settings import Backup
from plainstack.services.folders import Kept, kept
from plainstack.wording import duration, size

HEADER = ("files of", "host", "snapshot", "complete", "files", "size", "restore test")


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a folder; it has the files as they were between `begin` and `end`, in UTC. `size` is in bytes.

    `tested` is when it was last compared with its manifest, None if it was not; `problems` are what differed.
    """

    of: Kept
    id: str
    begin: datetime
    end: datetime
    files: int
    size: int
    tested: datetime | None = None
    problems: tuple[str, ...] = ()

    def as_data(self) -> dict[str, object]:
        """Return the snapshot as a JSON object; times are in ISO 8601."""
        return {
            "id": self.id,
            "service": self.of.service,
            "folder": self.of.folder,
            "host": self.of.host,
            "begin": self.begin.isoformat(),
            "end": self.end.isoformat(),
            "files": self.files,
            "size_bytes": self.size,
            "restore_test": {
                "at": self.tested.isoformat(),
                "passed": not self.problems,
                "problems": list(self.problems),
            }
            if self.tested
            else None,
        }


@dataclass(frozen=True)
class Files:
    """All snapshots, by folder and time, the oldest first; `failed` is what the last run could not do, as sentences."""

    snapshots: tuple[Snapshot, ...] = ()
    failed: tuple[str, ...] = ()

    def of(self, folder: Kept) -> list[Snapshot]:
        """Return the snapshots of a folder, the oldest first."""
        return [one for one in self.snapshots if one.of == folder]

    def newest(self, folder: Kept, until: datetime | None = None) -> Snapshot:
        """Return the newest snapshot of a folder that was complete at a moment. Raises Refused if there is none."""
        known = self.of(folder)
        found = [one for one in known if until is None or one.end <= until]
        if found:
            return found[-1]
        if known:
            first = f"the oldest snapshot of {folder.says} was complete at {moment(known[0].end)} UTC"
            raise Refused(f"{first}. Name that moment or a later one")
        raise Refused(f"there is no snapshot of {folder.says}. Take one: inv backup-now")


def at_moment(
    stack: Stack, files: Files, until: datetime, answering: Collection[str]
) -> tuple[list[Snapshot], list[str]]:
    """Return the snapshots with which all folders go back to a moment, and a sentence for each that cannot."""
    found, notes = [], []
    for folder in kept(stack):
        if folder.host not in answering:
            notes.append(f"{folder.host} does not answer: {folder.key} stays there as it is")
            continue
        try:
            found.append(files.newest(folder, until))
        except Refused:
            notes.append(f"{folder.says} has no snapshot from before that moment, and stays as it is")
    return found, notes


def parse(text: str) -> Files:
    """Return what the list script printed on its last line; nothing if it printed nothing. Raises PlainstackError."""
    last = next((line for line in reversed(text.split("\n")) if line.strip()), "")
    if not last:
        return Files()
    try:
        data: dict[str, Any] = json.loads(last)
        return Files(tuple(_snapshot(one) for one in data["snapshots"]), tuple(data.get("problems", ())))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PlainstackError(f"the backup host did not print its snapshots but {last[:200]!r}") from None


def _snapshot(data: Mapping[str, Any]) -> Snapshot:
    test = data["test"] or {}
    return Snapshot(
        Kept(data["service"], data["folder"], data["host"]),
        data["id"],
        datetime.fromtimestamp(data["begin"], UTC),
        datetime.fromtimestamp(data["end"], UTC),
        int(data["files"]),
        int(data["size"]),
        datetime.fromtimestamp(test["at"], UTC) if test else None,
        tuple(test.get("problems", ())),
    )


def rows(files: Files, now: datetime) -> list[tuple[str, ...]]:
    """Return the rows of a table, one for each snapshot."""
    return [
        (one.of.key, one.of.host, one.id, moment(one.end), str(one.files), size(one.size), _tested(one, now))
        for one in files.snapshots
    ]


def _tested(one: Snapshot, now: datetime) -> str:
    if one.tested is None:
        return "never"
    return f"{'FAILED' if one.problems else 'passed'} {duration((now - one.tested).total_seconds())} ago"


def problems(stack: Stack, files: Files, now: datetime) -> Iterator[str]:
    """Yield what is wrong with the snapshots of the folders that are backed up, as sentences."""
    limit = max_age_hours(stack.settings(Backup)) * 3600
    if files.failed:
        yield from (f"the last snapshot failed: {one}" for one in files.failed)
    for folder in kept(stack):
        known = files.of(folder)
        if not known:
            if not files.failed:
                yield f"there is no snapshot of {folder.says}. Take one: inv backup-now"
            continue
        if (age := (now - known[-1].end).total_seconds()) > limit:
            yield f"the newest snapshot of {folder.says} is {duration(age)} old. Take one: inv backup-now"
        last = [one for one in known if one.tested][-1:]
        for first, *others in (one.problems for one in last if one.problems):
            more = f", and {len(others)} more" if others else ""
            yield f"{first}{more}. Take a new one: inv backup-now"


def with_files(stack: Stack, backups: Status, answers: Answers, now: float) -> Status:
    """Return the status of the backups with that of the snapshots."""
    if not kept(stack):
        return backups
    at = datetime.fromtimestamp(now, UTC)
    seen = {name: parse(facts.get("files", "")) for name, facts in answers.items() if facts is not None}
    cells = {
        name: f"{text}; {_cell(stack, seen[name], at)}" if name in seen else text
        for name, text in backups.cells.items()
    }
    wrong = [(name, text) for name, one in seen.items() for text in problems(stack, one, at)]
    return Status(cells, [*backups.problems, *wrong], backups.notes)


def _cell(stack: Stack, files: Files, now: datetime) -> str:
    ends = [known[-1].end for known in map(files.of, kept(stack)) if known]
    if len(ends) < len(kept(stack)):
        return "no files"
    return f"files {duration((now - min(ends)).total_seconds())} ago"


def chosen(stack: Stack, names: str) -> list[Kept]:
    """Return the folders that `SERVICE/FOLDER` or `SERVICE` means, on all hosts; several are separated by commas.

    Raises Refused if one is not backed up.
    """
    everything = kept(stack)
    found: list[Kept] = []
    for name in names.split(","):
        wanted = name.strip().rstrip("/")
        mine = [one for one in everything if wanted in (one.key, one.service)]
        if not mine:
            known = ", ".join(dict.fromkeys(one.key for one in everything)) or "none"
            raise Refused(f"{name.strip() or 'nothing'} is not a folder that is backed up; known: {known}")
        found += [one for one in mine if one not in found]
    return found
