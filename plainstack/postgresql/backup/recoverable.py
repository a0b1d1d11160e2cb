"""To which moments a catalogue's backups and WAL can bring the database back, and where WAL is missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from plainstack.dataclass import dataclass
from plainstack.postgresql.backup.catalogue import Backup, Catalogue, timeline_of


@dataclass(frozen=True)
class Gap:
    """WAL that is missing: `count` segments from `first` on, between data received at `after` and at `before`."""

    first: str
    count: int
    after: datetime
    before: datetime


@dataclass(frozen=True)
class _Chunk:
    """WAL without a gap, from segment number `first` to `last`; `begin` and `end` are when these were received."""

    first: int
    last: int
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class _Span:
    """The part of the newest history that is on one timeline: segments `first` to `end`, without `end` itself."""

    timeline: int
    first: int
    end: int | None


def window(catalogue: Catalogue) -> tuple[datetime, datetime] | None:
    """Return the earliest and the latest moment of the newest recoverable period, in UTC; None if there is none."""
    found = windows(catalogue)
    return found[-1] if found else None


def windows(catalogue: Catalogue) -> tuple[tuple[datetime, datetime], ...]:
    """Return the periods in which any moment can be restored, the oldest first.

    A period begins with the end of a usable backup, and ends when the last WAL before a gap was received. The last one
    grows as WAL arrives; it ends with the last WAL, which can be later than the last commit.
    """
    found: list[tuple[datetime, datetime]] = []
    for begin, end in sorted((one.end, reach(catalogue, one)) for one in catalogue.usable if one.end):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return tuple(found)


def reach(catalogue: Catalogue, backup: Backup) -> datetime:
    """Return the latest moment that a usable backup can be brought to: when the last WAL before a gap was received."""
    assert backup.end
    wanted = number(catalogue, backup.begin_wal)
    if on_newest_history(catalogue, backup):
        chunks = list(_chunks(catalogue))
    else:
        # The timeline was abandoned: a failover promoted a server that had less of it.
        chunks = list(_joined(_pieces(catalogue, _Span(backup.timeline, 0, None))))
    return max([backup.end, *(chunk.end for chunk in chunks if chunk.first <= wanted <= chunk.last)])


def gaps(catalogue: Catalogue) -> tuple[Gap, ...]:
    """Return where WAL is missing on the newest history, after the beginning of its oldest usable backup."""
    kept = [number(catalogue, one.begin_wal) for one in catalogue.usable if on_newest_history(catalogue, one)]
    chunks = list(_chunks(catalogue))
    found = []
    for before, after in pairwise(chunks):
        if kept and before.last >= min(kept):
            first = before.last + 1
            name = _name(catalogue, _timeline_at(catalogue, first), first)
            found.append(Gap(name, after.first - first, before.end, after.begin))
    return tuple(found)


def open_gaps(catalogue: Catalogue) -> tuple[Gap, ...]:
    """Return the gaps after the newest usable backup: the moments since then cannot be restored."""
    newest = catalogue.newest
    if newest is None or not on_newest_history(catalogue, newest):
        return ()
    since = number(catalogue, newest.begin_wal)
    return tuple(gap for gap in gaps(catalogue) if number(catalogue, gap.first) > since)


def on_newest_history(catalogue: Catalogue, backup: Backup) -> bool:
    """Return whether a complete backup belongs to the history of the newest timeline, not to an abandoned timeline."""
    begin, end = (number(catalogue, name) for name in (backup.begin_wal, backup.end_wal))
    return any(
        span.timeline == backup.timeline and span.first <= begin and (span.end is None or end <= span.end)
        for span in _spans(catalogue)
    )


def number(catalogue: Catalogue, segment: str) -> int:
    """Return the number of a WAL segment, which grows by one from segment to segment, even across timelines."""
    return int(segment[8:16], 16) * (2**32 // catalogue.segment_bytes) + int(segment[16:], 16)


def segment_at(catalogue: Catalogue, lsn: str) -> int:
    """Return the number of the segment that contains an LSN."""
    high, low = (int(half, 16) for half in lsn.split("/"))
    return ((high << 32) + low) // catalogue.segment_bytes


def _name(catalogue: Catalogue, timeline: int, segment: int) -> str:
    high, low = divmod(segment, 2**32 // catalogue.segment_bytes)
    return f"{timeline:08X}{high:08X}{low:08X}"


def _spans(catalogue: Catalogue) -> Iterator[_Span]:
    """Yield the newest history. The segment in which a timeline ended is complete only on the next timeline."""
    first = 0
    for timeline, lsn in catalogue.history:
        end = segment_at(catalogue, lsn)
        yield _Span(timeline, first, end)
        first = end
    received = catalogue.received
    ended = {timeline for timeline, _ in catalogue.history}
    if received and timeline_of(received.name) not in ended:
        yield _Span(timeline_of(received.name), first, None)


def _timeline_at(catalogue: Catalogue, segment: int) -> int:
    return next(span.timeline for span in _spans(catalogue) if span.end is None or segment < span.end)


def _pieces(catalogue: Catalogue, span: _Span) -> Iterator[_Chunk]:
    """Yield the WAL of a timeline, cut to the span. A segment that is not complete counts only at the very end."""
    runs = [
        _Chunk(number(catalogue, run.first), number(catalogue, run.last), run.begin, run.end)
        for run in catalogue.runs
        if run.timeline == span.timeline
    ]
    if span.end is None:
        last = max((run.last for run in runs), default=-1)
        partial = [
            _Chunk(number(catalogue, one.name), number(catalogue, one.name), one.at, one.at)
            for one in catalogue.partials
            if timeline_of(one.name) == span.timeline
        ]
        runs += [one for one in partial if one.first > last]
    for run in runs:
        end = run.last if span.end is None else min(run.last, span.end - 1)
        if run.last >= span.first and run.first <= end:
            yield _Chunk(max(run.first, span.first), end, run.begin, run.end)


def _chunks(catalogue: Catalogue) -> Iterator[_Chunk]:
    return _joined(piece for span in _spans(catalogue) for piece in _pieces(catalogue, span))


def _joined(pieces: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """Yield the pieces, joining those that follow one another."""
    current: _Chunk | None = None
    for piece in pieces:
        if current and piece.first <= current.last + 1:
            current = _Chunk(current.first, piece.last, current.begin, piece.end)
        else:
            if current:
                yield current
            current = piece
    if current:
        yield current
