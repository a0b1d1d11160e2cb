"""What `inv backups` shows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

from plainstack.postgresql.backup import listing
from plainstack.postgresql.backup.catalogue import Backup, Catalogue, Tablespace
from plainstack.postgresql.backup.tested import RestoreTest
from tests.unit.postgresql.backup.holdings import at, backup, run

FULL = backup(60, 5, retention="VALID", size=32160780)
HELD = Catalogue("shop", (FULL,), (run(1, 5, 400),))


def test_a_backup_is_shown_with_the_moment_that_it_reaches() -> None:
    assert listing.rows(HELD, at(5000)) == [
        ("60", "full", "1970-01-01 00:01:00", "31 MiB", "1970-01-01 01:06:40", "needed", "never")
    ]
    assert listing.sentences(HELD) == ["recoverable, in UTC: 1970-01-01 00:01:00 to 1970-01-01 01:06:40"]
    assert listing.problems(HELD) == []


def test_a_clock_that_differs_is_a_problem() -> None:
    assert listing.problems(replace(HELD, clock_skew=2)) == []
    (found,) = listing.problems(replace(HELD, clock_skew=3601))
    assert found.startswith("the clock is 1 h ahead of the primary's")


def test_tablespaces_are_mentioned_if_the_newest_backup_has_some() -> None:
    spaced = replace(FULL, tablespaces=(Tablespace("fast", 16385, "/srv/fast"),))
    assert any("tablespaces" in text for text in listing.sentences(replace(HELD, backups=(spaced,))))


def test_a_backup_that_cannot_be_used_says_why() -> None:
    waiting = backup(70, 6, status="WAITING_FOR_WALS")
    failed = Backup(id="80", status="FAILED")
    orphan = Backup(id="90", kind="incremental", parent="50")
    child = Backup(id="95", kind="incremental", parent="80")
    rows = listing.rows(replace(HELD, backups=(FULL, waiting, failed, orphan, child)), at(5000))
    assert [row[4] for row in rows[1:]] == [
        "WAL is missing",
        "FAILED",
        "unusable: 50 is missing",
        "unusable: 80 is unusable",
    ]


def test_the_result_of_a_restore_test_is_shown_and_a_failed_one_is_a_problem() -> None:
    tested = replace(HELD, restore_tests={"60": RestoreTest("60", at(5000) - timedelta(days=2), True, 9.5)})
    assert listing.rows(tested, at(5000))[0][-1] == "passed 2 d ago"
    assert listing.problems(tested) == []
    elsewhere = RestoreTest("60", at(4000), True, 9.5, host="db2")
    assert listing.rows(replace(HELD, restore_tests={"60": elsewhere}), at(5000))[0][-1] == "passed 16 min ago on db2"
    failed = replace(HELD, restore_tests={"60": RestoreTest("60", at(4000), False, None, None, ("page 7 is bad",))})
    assert listing.rows(failed, at(5000))[0][-1] == "FAILED 16 min ago"
    assert listing.problems(failed) == ["the restore test of backup 60 failed: page 7 is bad"]


def test_without_a_usable_backup_the_command_to_type_is_named() -> None:
    assert listing.problems(Catalogue("shop")) == ["there is no backup yet. Take one: inv backup-now"]
    failed = Catalogue("shop", (Backup(id="80", status="FAILED"),))
    assert listing.problems(failed) == ["no backup can be used. Take one, or see why none succeeds: inv backup-now"]


def test_missing_wal_is_a_problem_until_a_backup_was_taken_after_it() -> None:
    gap = replace(HELD, runs=(run(1, 5, 10), run(1, 31, 400)))
    missing = (
        "20 WAL segments are missing, from 00000001000000000000000B on:"
        " no moment between 1970-01-01 00:01:40 and 1970-01-01 00:05:10 UTC can be restored"
    )
    assert listing.problems(gap) == [f"{missing}. Take a backup: inv backup-now"]
    mended = replace(gap, backups=(FULL, backup(3060, 305)))
    assert listing.problems(mended) == []
    assert listing.sentences(mended) == [
        "recoverable, in UTC: 1970-01-01 00:01:00 to 1970-01-01 00:01:40,"
        " and 1970-01-01 00:51:00 to 1970-01-01 01:06:40",
        missing,
    ]


def test_the_json_document_holds_all_of_it() -> None:
    data = listing.as_data(HELD)
    assert json.loads(json.dumps(data)) == data
    assert [one["wal_up_to"] for one in json.loads(json.dumps(data))["backups"]] == ["1970-01-01T01:06:40+00:00"]
    assert data["recoverable"] == [{"from": "1970-01-01T00:01:00+00:00", "to": "1970-01-01T01:06:40+00:00"}]
    assert data["received"] == {"wal": "000000010000000100000090", "at": "1970-01-01T01:06:40+00:00"}
