"""The moments that a catalogue's backups and WAL can bring the database back to, over failovers and gaps."""

from __future__ import annotations

from plainstack.postgresql.backup.catalogue import Catalogue, Partial
from plainstack.postgresql.backup.recoverable import Gap, gaps, open_gaps, window, windows
from tests.unit.postgresql.backup.holdings import at, backup, name, run


def test_without_a_usable_backup_nothing_can_be_recovered() -> None:
    assert window(Catalogue("shop")) is None
    assert window(Catalogue("shop", (backup(60, 5, status="FAILED"),), (run(1, 1, 9),))) is None


def test_the_window_is_from_the_end_of_the_oldest_backup_to_the_newest_wal() -> None:
    held = Catalogue("shop", (backup(60, 5), backup(3060, 305)), (run(1, 5, 400),))
    assert window(held) == (at(60), at(4000))
    streaming = Catalogue("shop", held.backups, held.runs, (Partial(name(1, 401), at(4007)),))
    assert window(streaming) == (at(60), at(4007))
    assert gaps(streaming) == ()


def test_a_gap_divides_the_window_and_is_reported() -> None:
    held = Catalogue("shop", (backup(60, 5), backup(320, 31)), (run(1, 5, 10), run(1, 31, 40)))
    assert windows(held) == ((at(60), at(100)), (at(320), at(400)))
    assert window(held) == (at(320), at(400))
    assert gaps(held) == (Gap(name(1, 11), 20, at(100), at(310)),)
    assert open_gaps(held) == ()


def test_a_gap_after_the_newest_backup_is_open_and_ends_its_window() -> None:
    partial = (Partial(name(1, 31), at(317)),)
    held = Catalogue("shop", (backup(60, 5),), (run(1, 5, 10),), partial)
    assert window(held) == (at(60), at(100))
    assert [(gap.count, gap.after, gap.before) for gap in open_gaps(held)] == [(20, at(100), at(317))]


def test_a_gap_before_the_oldest_backup_does_not_matter() -> None:
    held = Catalogue("shop", (backup(320, 31),), (run(1, 5, 10), run(1, 31, 40)))
    assert gaps(held) == ()


def test_the_window_continues_over_failovers_without_a_gap() -> None:
    # The segment in which a timeline ended is complete only on the next one; two failovers share segment 20.
    runs = (run(1, 5, 11), run(2, 12, 19), run(4, 20, 30))
    history = ((1, "0/C000060"), (2, "0/14000060"), (3, "0/14000100"))
    partials = (Partial(name(1, 12), at(121)), Partial(name(4, 31), at(311)))
    held = Catalogue("shop", (backup(60, 5), backup(160, 15, 2)), runs, partials, history)
    assert window(held) == (at(60), at(311))
    assert gaps(held) == ()


def test_wal_that_a_failover_left_out_is_a_gap() -> None:
    runs = (run(1, 5, 8), run(2, 12, 20))
    held = Catalogue("shop", (backup(60, 5),), runs, history=((1, "0/C000060"),))
    assert window(held) == (at(60), at(80))
    assert gaps(held) == (Gap(name(1, 9), 3, at(80), at(120)),)


def test_a_backup_of_an_abandoned_timeline_reaches_only_to_its_end() -> None:
    # The database was brought back to segment 7 of timeline 1; the backup at segment 9 belongs to the abandoned
    # history.
    runs = (run(1, 5, 12), run(2, 7, 20))
    held = Catalogue("shop", (backup(60, 5), backup(100, 9)), runs, history=((1, "0/7000060"),))
    assert windows(held) == ((at(60), at(200)),)
    only = Catalogue("shop", (backup(100, 9),), runs, history=((1, "0/7000060"),))
    assert windows(only) == ((at(100), at(120)),)
    assert open_gaps(only) == ()
