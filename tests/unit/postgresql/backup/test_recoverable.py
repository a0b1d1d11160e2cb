"""The moments that a catalogue's backups and WAL can bring the database back to, over failovers and gaps."""

from __future__ import annotations

from datetime import UTC, datetime

from plainstack.postgresql.backup.catalogue import DONE, Backup, Catalogue, Partial, Run
from plainstack.postgresql.backup.recoverable import Gap, gaps, open_gaps, window, windows


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _name(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def _backup(end: int, segment: int, timeline: int = 1, status: str = DONE) -> Backup:
    """Return a backup that ends at a time, and begins in a segment and ends in the next."""
    begin_wal, end_wal = _name(timeline, segment), _name(timeline, segment + 1)
    return Backup(
        id=f"{end}",
        begin=_at(end - 5),
        end=_at(end),
        timeline=timeline,
        begin_wal=begin_wal,
        end_wal=end_wal,
        status=status,
    )


def _run(timeline: int, first: int, last: int) -> Run:
    """Return a run of segments, of which number N was received at N * 10 seconds."""
    return Run(_name(timeline, first), _name(timeline, last), _at(first * 10), _at(last * 10))


def test_without_a_usable_backup_nothing_can_be_recovered() -> None:
    assert window(Catalogue("shop")) is None
    assert window(Catalogue("shop", (_backup(60, 5, status="FAILED"),), (_run(1, 1, 9),))) is None


def test_the_window_is_from_the_end_of_the_oldest_backup_to_the_newest_wal() -> None:
    held = Catalogue("shop", (_backup(60, 5), _backup(3060, 305)), (_run(1, 5, 400),))
    assert window(held) == (_at(60), _at(4000))
    streaming = Catalogue("shop", held.backups, held.runs, (Partial(_name(1, 401), _at(4007)),))
    assert window(streaming) == (_at(60), _at(4007))
    assert gaps(streaming) == ()


def test_a_gap_divides_the_window_and_is_reported() -> None:
    held = Catalogue("shop", (_backup(60, 5), _backup(320, 31)), (_run(1, 5, 10), _run(1, 31, 40)))
    assert windows(held) == ((_at(60), _at(100)), (_at(320), _at(400)))
    assert window(held) == (_at(320), _at(400))
    assert gaps(held) == (Gap(_name(1, 11), 20, _at(100), _at(310)),)
    assert open_gaps(held) == ()


def test_a_gap_after_the_newest_backup_is_open_and_ends_its_window() -> None:
    partial = (Partial(_name(1, 31), _at(317)),)
    held = Catalogue("shop", (_backup(60, 5),), (_run(1, 5, 10),), partial)
    assert window(held) == (_at(60), _at(100))
    assert [(gap.count, gap.after, gap.before) for gap in open_gaps(held)] == [(20, _at(100), _at(317))]


def test_a_gap_before_the_oldest_backup_does_not_matter() -> None:
    held = Catalogue("shop", (_backup(320, 31),), (_run(1, 5, 10), _run(1, 31, 40)))
    assert gaps(held) == ()


def test_the_window_continues_over_failovers_without_a_gap() -> None:
    # The segment in which a timeline ended is complete only on the next one; two failovers share segment 20.
    runs = (_run(1, 5, 11), _run(2, 12, 19), _run(4, 20, 30))
    history = ((1, "0/C000060"), (2, "0/14000060"), (3, "0/14000100"))
    partials = (Partial(_name(1, 12), _at(121)), Partial(_name(4, 31), _at(311)))
    held = Catalogue("shop", (_backup(60, 5), _backup(160, 15, 2)), runs, partials, history)
    assert window(held) == (_at(60), _at(311))
    assert gaps(held) == ()


def test_wal_that_a_failover_left_out_is_a_gap() -> None:
    runs = (_run(1, 5, 8), _run(2, 12, 20))
    held = Catalogue("shop", (_backup(60, 5),), runs, history=((1, "0/C000060"),))
    assert window(held) == (_at(60), _at(80))
    assert gaps(held) == (Gap(_name(1, 9), 3, _at(80), _at(120)),)


def test_a_backup_of_an_abandoned_timeline_reaches_only_to_its_end() -> None:
    # The database was brought back to segment 7 of timeline 1; the backup at segment 9 is of a future that is no more.
    runs = (_run(1, 5, 12), _run(2, 7, 20))
    held = Catalogue("shop", (_backup(60, 5), _backup(100, 9)), runs, history=((1, "0/7000060"),))
    assert windows(held) == ((_at(60), _at(200)),)
    only = Catalogue("shop", (_backup(100, 9),), runs, history=((1, "0/7000060"),))
    assert windows(only) == ((_at(100), _at(120)),)
    assert open_gaps(only) == ()
