"""The moment to which a database goes back: what the operator typed, and from which backup it can be reached."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.postgresql.backup.abandoned import contains, left_at
from plainstack.postgresql.backup.catalogue import Backup, Catalogue
from plainstack.postgresql.backup.recoverable import on_newest_history, windows

_EXAMPLE = "2026-11-21 14:03:00+00"


@dataclass(frozen=True)
class Start:
    """The backup to start from, and the timeline to follow if it is not the newest one, or 0."""

    backup: Backup
    timeline: int = 0

    @property
    def id(self) -> str:
        """The ID of the backup."""
        return self.backup.id

    @property
    def says(self) -> str:
        """What it means that the timeline is not the newest one, as a sentence; empty if it is."""
        if not self.timeline:
            return ""
        return (
            f"this moment is on timeline {self.timeline}, which a restore or a failover abandoned later;"
            " the database is recovered along it"
        )


@dataclass(frozen=True)
class Moment:
    """A time, the moment before a transaction, or, with neither, the end of the backup; `backup` may be empty."""

    at: datetime | None = None
    before_xid: int = 0
    backup: str = ""

    @property
    def says(self) -> str:
        """The moment in words that can follow "the database as it was"."""
        if self.at:
            return f"at {self.at:%Y-%m-%d %H:%M:%S%z}".replace("+0000", " UTC")
        if self.before_xid:
            return f"before transaction {self.before_xid}"
        return f"at the end of backup {self.backup}"

    @property
    def key(self) -> str:
        """The moment as a restore records it, to recognize a command that is typed again."""
        return f"{self.at.isoformat() if self.at else ''} {self.before_xid or ''} {self.backup}".strip()

    def words(self, start: Start, *, or_end: bool) -> tuple[str, ...]:
        """Return the moment as options of the program that recovers a copy from a backup.

        With `or_end`, a time after the last commit means the end of the WAL.
        """
        backup = f"--backup={start.id}"
        along = (f"--timeline={start.timeline}",) if start.timeline else ()
        if self.at:
            # No commit will follow on an abandoned timeline.
            end = ("--or-end",) if or_end or along else ()
            return (backup, f"--at={self.at.isoformat()}", *along, *end)
        if self.before_xid:
            return (backup, f"--before-xid={self.before_xid}", *along)
        return (backup, "--consistent", *along)


def typed(at: str, before_xid: str, backup: str) -> Moment:
    """Return the moment that the options --at, --before-xid and --backup mean. Raises Refused."""
    if at and before_xid:
        raise Refused("--at and --before-xid both name a moment: use one of them")
    if not (at or before_xid or backup):
        raise Refused(f'name the moment to go back to: --at="{_EXAMPLE}", --before-xid=N or --backup=ID')
    return Moment(_time(at) if at else None, _xid(before_xid) if before_xid else 0, backup)


def _time(text: str) -> datetime:
    try:
        # PostgreSQL and people write +00; before Python 3.12 only +00:00 was read.
        found = datetime.fromisoformat(re.sub(r"\s*(UTC|Z)$|([+-]\d\d)$", _offset, text.strip()))
    except ValueError:
        raise Refused(f"--at={text}: not a time. Write it like {_EXAMPLE}") from None
    if found.tzinfo is None:
        raise Refused(f'--at={text}: in which time zone? Add it: --at="{text.strip()}+00" is that time in UTC')
    return found.astimezone(UTC)


def _offset(match: re.Match[str]) -> str:
    return "+00:00" if match[1] else f"{match[2]}:00"


def _xid(text: str) -> int:
    if not text.isdecimal() or not 3 <= int(text) < 2**64:
        raise Refused(f"--before-xid={text}: not a transaction number such as pg_current_xact_id() prints")
    return int(text)


def base_of(catalogue: Catalogue, moment: Moment, now: datetime, *, running: bool) -> Start:
    """Return where to start from. Raises Refused, with the moments that can be reached, if this one cannot.

    A time means the database as it was then: on a history that was abandoned since, if it was on that. If a primary is
    `running`, Barman can still receive its newest WAL, so the last period extends to `now`.
    """
    usable = [one for one in catalogue.usable if one.end]
    if not usable:
        raise Refused("there is no usable backup to restore from. Look at them: inv backups")
    named = _named(usable, moment.backup) if moment.backup else None
    if moment.at:
        timeline = left_at(catalogue, moment.at)
        # The periods are those of the newest history. If WAL of another is missing, the recovery says so.
        if not timeline:
            _must_be_recoverable(catalogue, moment.at, now, running=running)
    else:
        timeline = named.timeline if named and not on_newest_history(catalogue, named) else 0
    on_it = [one for one in usable if _on(catalogue, timeline, one)]
    if named and named not in on_it:
        ids = ", ".join(one.id for one in on_it) or "none"
        raise Refused(
            f"--backup={named.id}: at that moment, the database was on a history without it. Usable are: {ids}"
        )
    starts = [named] if named else on_it
    if moment.at:
        starts = [one for one in starts if one.end and one.end <= moment.at]
    if named and not starts:
        raise Refused(f"backup {named.id} ended {_shown(named.end)}, after that moment. Leave --backup out")
    if not starts:
        raise Refused(
            f"no backup that ended before that moment is on the history that the database had then"
            f"{f' (timeline {timeline})' if timeline else ''}. Look at them: inv backups"
        )
    return Start(starts[-1], timeline)


def _on(catalogue: Catalogue, timeline: int, backup: Backup) -> bool:
    return contains(catalogue, timeline, backup) if timeline else on_newest_history(catalogue, backup)


def _named(usable: list[Backup], name: str) -> Backup:
    for one in usable:
        if one.id == name:
            return one
    ids = ", ".join(one.id for one in usable)
    raise Refused(f"--backup={name}: there is no such backup, or it is incomplete. Usable are: {ids}")


def _must_be_recoverable(catalogue: Catalogue, at: datetime, now: datetime, *, running: bool) -> None:
    found = list(windows(catalogue))
    if running and found and at <= now:
        found[-1] = (found[-1][0], max(found[-1][1], now))
    if any(begin <= at <= end for begin, end in found):
        return
    reachable = ", and ".join(f"from {_shown(begin)} to {_shown(end)}" for begin, end in found)
    if at > now:
        raise Refused(f"{_shown(at)} is in the future. The backups and their WAL reach {reachable}")
    raise Refused(f"the database cannot go back to {_shown(at)}. The backups and their WAL reach {reachable}")


def _shown(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "at an unknown time"
