"""The moment that an operator types, and the backup from which it can be reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from plainstack.errors import Refused
from plainstack.postgresql.backup.catalogue import Backup, Catalogue, Run
from plainstack.postgresql.restore.moment import base_of, typed

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def catalogue() -> Catalogue:
    """Return two backups, of ten and eleven o'clock, and WAL until noon."""
    backups = tuple(
        Backup(
            id=f"2026112{hour}",
            begin=NOON - hour * HOUR - HOUR / 6,
            end=NOON - hour * HOUR,
            timeline=1,
            begin_wal=f"0000000100000000000000{segment}0",
            end_wal=f"0000000100000000000000{segment}0",
        )
        for hour, segment in ((2, 1), (1, 2))
    )
    run = Run("000000010000000000000001", "000000010000000000000030", NOON - 3 * HOUR, NOON)
    return Catalogue("shop", backups, (run,))


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 12:00:00+00",
        "2026-11-21T12:00:00Z",
        "2026-11-21 12:00 UTC",
        "2026-11-21 13:00+01:00",
        "2026-11-21 17:30:00.000+0530",
    ],
)
def test_a_time_can_be_written_as_postgresql_and_people_do(text: str) -> None:
    assert typed(text, "", "").at == NOON


@pytest.mark.parametrize(
    ("at", "xid", "backup", "why"),
    [
        ("", "", "", "name the moment to go back to"),
        ("noon", "", "", r"--at=noon: not a time\. Write it like 2026-11-21 14:03:00\+00"),
        ("2026-11-21 14:03", "", "", r'--at="2026-11-21 14:03\+00" is that time in UTC'),
        ("2026-11-31 14:03+00", "", "", "not a time"),
        ("2026-11-21 14:03+00", "770", "", "use one of them"),
        ("", "-4", "", "--before-xid=-4: not a transaction number"),
        ("", "1e3", "", "not a transaction number"),
    ],
)
def test_what_is_no_moment_is_refused_with_what_to_type(at: str, xid: str, backup: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        typed(at, xid, backup)


def test_a_restore_starts_from_the_newest_backup_that_ended_before_the_moment() -> None:
    for minutes, expected in ((90, "20261122"), (30, "20261121")):
        at = typed((NOON - timedelta(minutes=minutes)).isoformat(), "", "")
        assert base_of(catalogue(), at, NOON, running=True).backup.id == expected
    older = typed((NOON - HOUR / 2).isoformat(), "", "20261122")
    assert base_of(catalogue(), older, NOON, running=True).backup.id == "20261122"
    assert base_of(catalogue(), typed("", "", "20261122"), NOON, running=True).backup.id == "20261122"


@pytest.mark.parametrize(
    ("at", "running", "why"),
    [
        (NOON - 4 * HOUR, True, "cannot go back to 2026-11-21 08:00:00 UTC.*from 2026-11-21 10:00:00 UTC to"),
        (NOON + 2 * HOUR, True, "2026-11-21 14:00:00 UTC is in the future"),
        (NOON + HOUR / 2, False, "cannot go back to 2026-11-21 12:30:00 UTC"),
    ],
)
def test_a_moment_out_of_reach_is_refused_with_the_moments_in_reach(at: datetime, running: bool, why: str) -> None:
    with pytest.raises(Refused, match=why):
        base_of(catalogue(), typed(at.isoformat(), "", ""), NOON + HOUR, running=running)


def test_with_a_running_primary_the_last_minutes_are_in_reach_although_their_wal_has_not_arrived() -> None:
    now = NOON + HOUR
    at = typed((NOON + HOUR / 2).isoformat(), "", "")
    assert base_of(catalogue(), at, now, running=True).backup.id == "20261121"


def test_an_unknown_backup_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match=r"--backup=20200101: there is no such backup, .* Usable are: 20261122, 20261121"):
        base_of(catalogue(), typed("", "", "20200101"), NOON, running=True)
    late = typed((NOON - 90 * HOUR / 60).isoformat(), "", "20261121")
    with pytest.raises(Refused, match="backup 20261121 ended 2026-11-21 11:00:00 UTC, after that moment"):
        base_of(catalogue(), late, NOON, running=True)
