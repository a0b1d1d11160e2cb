"""Histories that were abandoned: by a restore to an earlier moment, or by a failover to a server that had less WAL."""

from __future__ import annotations

from datetime import datetime

from plainstack.postgresql.backup.catalogue import Backup, Catalogue, timeline_of
from plainstack.postgresql.backup.recoverable import number, segment_at


def left_at(catalogue: Catalogue, at: datetime) -> int:
    """Return the timeline that the database was on at a time, if it was abandoned since; 0 if the newest has it all.

    A timeline begins when the backup host gets its history, some seconds after its first WAL.
    """
    if not catalogue.timelines:
        return 0
    newest = catalogue.timelines[-1]
    first = newest.history[0][0] if newest.history else newest.number
    live = max((one.number for one in catalogue.timelines if one.at <= at), default=first)
    return live if _abandoned(catalogue, live) else 0


def _abandoned(catalogue: Catalogue, timeline: int) -> bool:
    """Return whether a timeline has WAL that is not in the newest history.

    The segment in which a timeline ends regularly is complete only on the next one.
    """
    newest = catalogue.timelines[-1]
    if timeline == newest.number:
        return False
    ends = dict(newest.history)
    if timeline not in ends:
        return True
    end = segment_at(catalogue, ends[timeline])
    return any(run.timeline == timeline and number(catalogue, run.last) >= end for run in catalogue.runs) or any(
        timeline_of(one.name) == timeline and number(catalogue, one.name) > end for one in catalogue.partials
    )


def contains(catalogue: Catalogue, timeline: int, backup: Backup) -> bool:
    """Return whether a timeline or its ancestors contain a complete backup."""
    if backup.timeline == timeline:
        return True
    history = next((one.history for one in catalogue.timelines if one.number == timeline), ())
    end = dict(history).get(backup.timeline)
    return end is not None and number(catalogue, backup.end_wal) <= segment_at(catalogue, end)
