"""Restore tests: a backup is restored, checked, compared with its record, and deleted again.

That happens on the backup host; elsewhere.py lets a db host check a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from shlex import join
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.errors import PlainstackError
from plainstack.postgresql.restore.scratch import PROGRAM
from plainstack.wording import counted, duration


@dataclass(frozen=True)
class Result:
    """The result of a restore test.

    `seconds` is how long it took to restore and recover; `rpo_seconds` is how old the newest recovered commit was, None
    if the cluster did not get so far. `problems` and `notes` are sentences. `data` is all that the host reported.
    """

    backup: str
    passed: bool
    seconds: float
    rpo_seconds: float | None
    tables: int
    rows: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    data: dict[str, Any]

    def sentences(self) -> Iterator[str]:
        """Yield its results as sentences, without the problems and notes."""
        copy = " from the second copy" if self.data.get("from_copy") else ""
        host = f" on {self.data['host']}" if self.data.get("host") else ""
        verdict = f"can be restored{copy}{host}" if self.passed else f"FAILED the restore test{copy}{host}"
        yield f"backup {self.backup} {verdict}"
        yield f"time to restore: {duration(self.seconds)}"
        if self.rpo_seconds is not None:
            yield f"the newest recovered commit is {duration(self.rpo_seconds)} old"
        if self.tables:
            rows = f"{counted(self.tables, 'table')} with {counted(self.rows, 'row')}"
            yield f"compared with what was recorded at the backup: {rows}"
        if (files := self.data.get("files_from_copy")) is not None:
            yield f"compared with their hashes: {counted(files, 'file')} of services"


def options(backup: str = "latest", at: datetime | None = None, timeline: int = 0) -> list[str]:
    """Return a backup, a time and the timeline to follow (0: the newest) as options of the backup host's program."""
    words = [f"--backup={backup}", *([f"--at={at.isoformat()}"] if at else [])]
    return [*words, *([f"--timeline={timeline}"] if timeline else [])]


def script(wanted: Sequence[str] = (), *, from_copy: bool = False) -> str:
    """Return shell code for root on the backup host that tests a backup; `wanted` are its `options`.

    With `from_copy`, the backup and its WAL are fetched from the second copy. It prints lines of progress, then
    the result as JSON. Its exit code is 1 if the test failed.
    """
    words = ["test", *wanted, *(["--from-copy"] if from_copy else [])]
    return f"/usr/bin/python3 -I {PROGRAM} {join(words)}\n"


def printed(data: dict[str, Any]) -> str:
    """Return a result as the one line that `parse` reads."""
    return json.dumps(data)


def is_result(line: str) -> bool:
    """Return whether a line that the script printed is the result, and not progress."""
    return line.startswith("{")


def parse(line: str) -> Result:
    """Return the result that the script printed. Raises PlainstackError."""
    try:
        data = json.loads(line)
        rpo = data["rpo_seconds"]
        return Result(
            data["backup"],
            bool(data["passed"]),
            float(data["seconds"]),
            None if rpo is None else float(rpo),
            int(data.get("tables", 0)),
            int(data.get("rows", 0)),
            tuple(data["problems"]),
            tuple(data["notes"]),
            data,
        )
    except (KeyError, TypeError, ValueError):
        raise PlainstackError(f"not the result of a restore test: {line[:200]!r}") from None
