"""How far to recover a cluster, and how far it got according to PostgreSQL's log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_FLAGS = {"time": "--at", "xid": "--before-xid", "lsn": "--lsn", "immediate": "--consistent", "": "--end"}
ENDED_BEFORE = "recovery ended before configured recovery target was reached"
NO_SPACE = "No space left on device"
# How the server ends if WAL that it needs is missing.
_WITHOUT_WAL = (ENDED_BEFORE, "could not locate required checkpoint record", "WAL ends before", "is not a child of")
_TABLESPACE = re.compile(r'directory "([^"]+)" does not exist')


@dataclass(frozen=True)
class Target:
    """Where recovery ends; without a `kind`, at the end of the WAL. With `pause`, the cluster stays read-only there."""

    kind: str = ""
    value: str = ""
    pause: bool = False

    def settings(self, timeline: int) -> dict[str, str]:
        """Return the settings with which PostgreSQL recovers to it."""
        found = {"recovery_target_timeline": str(timeline)}
        if self.kind == "immediate":
            found["recovery_target"] = "immediate"
        elif self.kind:
            found[f"recovery_target_{self.kind}"] = self.value
            found["recovery_target_inclusive"] = "on" if self.kind == "time" else "off"
        if self.kind:
            found["recovery_target_action"] = "pause" if self.pause else "promote"
        return found

    def described(self) -> str:
        """Return the target as the option that was typed."""
        return f"{_FLAGS[self.kind]}={self.value}" if self.value else _FLAGS[self.kind]


@dataclass(frozen=True)
class Logged:
    """What PostgreSQL's log says: the WAL files replayed so far, the last of them, where and why recovery ended.

    `full` says that the disk became full.
    """

    restored: int
    last_file: str
    redo_done: str
    stopped: str
    last_commit: str
    fatal: str
    up: bool
    paused: bool
    damaged: str
    full: bool = False

    @property
    def lacks_wal(self) -> bool:
        """Whether the server ended because WAL is missing."""
        return any(words in self.fatal for words in _WITHOUT_WAL)

    @property
    def tablespace(self) -> str:
        """The folder of a tablespace that was created after the backup, if the server ended because it lacks it."""
        found = _TABLESPACE.search(self.fatal)
        return found[1] if found else ""

    @property
    def ended_early(self) -> bool:
        """Whether the WAL ended before the target."""
        return ENDED_BEFORE in self.fatal


def read(log: str) -> Logged:
    """Return what the log of a cluster's last start says."""

    def found(pattern: str) -> str:
        matches = re.findall(pattern, log)
        return str(matches[-1]) if matches else ""

    files = re.findall(r'restored log file "([0-9A-F]{24})" from archive', log)
    commit = found(r"last completed transaction was at log time (\S+ \S+)")
    return Logged(
        len(set(files)),
        files[-1] if files else "",
        found(r"redo done at ([0-9A-F]+/[0-9A-F]+)"),
        found(r"LOG:  recovery stopping (.*)"),
        iso(commit) if commit else "",
        found(r"(?:FATAL|PANIC):  (.*)"),
        "database system is ready to accept connections" in log,
        "pausing at the end of recovery" in log,
        found(r"(WAL file \S+ is damaged: .*)"),
        NO_SPACE in log,
    )


def iso(text: str) -> str:
    """Return a time of PostgreSQL's log, which is in UTC, in ISO format."""
    return _moment(text.replace("UTC", "+00:00")).isoformat()


def moment(text: str) -> str:
    """Return a time that a person typed as PostgreSQL reads it. Raises ValueError without a time zone."""
    found = _moment(text)
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"([+-]\d\d)$", r"\1:00", text.strip()))
