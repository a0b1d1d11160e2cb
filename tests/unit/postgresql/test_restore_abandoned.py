"""A moment on a history that a restore or a failover has abandoned since: which timeline is followed, from where."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plainstack.errors import Refused
from plainstack.postgresql.backup.catalogue import Catalogue, Partial, Run, Timeline
from plainstack.postgresql.restore.moment import Moment, Start, base_of, typed
from tests.unit.postgresql.backup.holdings import at, backup, name, run

FORK = ((1, "0/7000060"),)
# A restore at 125 s brought the database back to segment 7 of timeline 1. Backup 60 is from before that moment; backup
# 100 is of the history that was abandoned, backup 160 of the new one.
RESTORED = Catalogue(
    "shop",
    (backup(60, 5), backup(100, 8), backup(160, 15, 2)),
    (run(1, 5, 7), run(1, 8, 12), run(2, 7, 20)),
    (Partial(name(1, 13), at(124)),),
    FORK,
    timelines=(Timeline(2, at(126), FORK),),
)


def moment(second: int, backup: str = "") -> Moment:
    return typed(at(second).isoformat(), "", backup)


def start(held: Catalogue, second: int) -> Start:
    return base_of(held, moment(second), at(300), running=True)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (65, ("60", 1)),
        # Between the target of the restore and the restore itself: the database was on the abandoned history.
        (90, ("60", 1)),
        (110, ("100", 1)),
        (124, ("100", 1)),
        (130, ("60", 0)),
        (170, ("160", 0)),
    ],
)
def test_a_time_before_an_earlier_restore_means_the_history_that_it_abandoned(
    second: int, expected: tuple[str, int]
) -> None:
    found = start(RESTORED, second)
    assert (found.backup.id, found.timeline) == expected
    words = moment(second).words(found, or_end=False)
    assert ("--timeline=1" in words, "--or-end" in words) == (expected[1] == 1, expected[1] == 1)
    assert ("timeline 1, which a restore or a failover abandoned" in found.says) == (expected[1] == 1)


def test_a_gap_after_the_restore_does_not_concern_the_history_that_it_abandoned() -> None:
    held = replace(RESTORED, backups=RESTORED.backups[:1], runs=(run(1, 5, 7), run(1, 8, 12), run(2, 14, 20)))
    assert start(held, 110) == Start(held.backups[0], 1)


def test_after_an_undo_the_restored_data_and_what_was_before_it_are_both_in_reach() -> None:
    # At 205 s the restore was undone: timeline 1 continued as timeline 3.
    undone = ((1, "0/D000028"),)
    held = Catalogue(
        "shop",
        RESTORED.backups,
        (*RESTORED.runs, Run(name(3, 13), name(3, 20), at(207), at(290))),
        RESTORED.partials,
        undone,
        timelines=(*RESTORED.timelines, Timeline(3, at(206), undone)),
    )
    assert start(held, 124) == Start(held.by_id["100"])
    assert start(held, 170) == Start(held.by_id["160"], 2)


def test_a_failover_that_lost_nothing_abandons_nothing() -> None:
    # The segment in which timeline 1 ended is complete only on timeline 2.
    history = ((1, "0/C000060"),)
    held = Catalogue(
        "shop",
        (backup(60, 5),),
        (run(1, 5, 11), run(2, 12, 20)),
        (Partial(name(1, 12), at(121)),),
        history,
        timelines=(Timeline(2, at(125), history),),
    )
    for second in (70, 124, 150):
        assert start(held, second) == Start(held.backups[0])


def test_what_a_failover_lost_is_on_the_timeline_of_the_old_primary() -> None:
    # Barman had two segments more than the server that was promoted.
    history = ((1, "0/B000060"),)
    held = Catalogue(
        "shop",
        (backup(60, 5),),
        (run(1, 5, 11), run(1, 12, 13), run(2, 11, 20)),
        history=history,
        timelines=(Timeline(2, at(140), history),),
    )
    assert start(held, 130) == Start(held.backups[0], 1)
    assert start(held, 150) == Start(held.backups[0])


def test_a_backup_of_an_abandoned_history_brings_back_that_history() -> None:
    named = typed("", "", "100")
    found = base_of(RESTORED, named, at(300), running=True)
    assert named.words(found, or_end=False) == ("--backup=100", "--consistent", "--timeline=1")
    with pytest.raises(Refused, match=r"--backup=100: .* on a history without it\. Usable are: 60, 160"):
        base_of(RESTORED, moment(170, "100"), at(300), running=True)
