"""What `inv status` and a deploy say about backups, from the facts of the backup host."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.engine.observed import Observed
from plainstack.inventory.stack import Stack
from plainstack.postgresql import status as database
from plainstack.postgresql.backup import status
from plainstack.postgresql.settings import NEVER, Backup
from tests import inventories

NOW = 1795309648 + 3 * 3600
FACTS = {
    "backup_at.full": "1795100000",
    "backup_at.incremental": "1795309648",
    "unit.plainstack-backup-full.timer.NextElapseUSecRealtime": "Sun 2026-11-29 02:00:00 UTC",
    "unit.plainstack-backup-full.service.Result": "success",
    "unit.plainstack-backup-full.service.ExecMainExitTimestamp": "",
    "unit.plainstack-backup-incremental.timer.NextElapseUSecRealtime": "Mon 2026-11-23 02:00:00 UTC",
    "unit.plainstack-backup-incremental.service.Result": "success",
    "unit.plainstack-backup-incremental.service.ExecMainExitTimestamp": "Sun 2026-11-22 01:07:29 UTC",
}


@pytest.fixture
def stack() -> Stack:
    hosts = "{db1: {address: 10.0.0.1, roles: [db]}, bak1: {address: 10.0.0.3, roles: [backup]}}"
    return inventories.parse(f"stack: shop\nhosts: {hosts}\ndatabase: {{name: shop}}\n", "test.yaml", Path())


def test_status_shows_the_newest_backup_and_the_schedule(stack: Stack) -> None:
    said = status.status(stack, {"bak1": FACTS}, NOW)
    assert said.cells == {"bak1": "full 2 d ago, next in 6 d; incremental 3 h ago, next in 21 h"}
    assert said.problems == []


def test_a_kind_that_is_not_scheduled_is_shown_only_if_there_is_one(stack: Stack) -> None:
    only = stack.model_copy(update={"backup": Backup(incremental=NEVER)})
    assert status.status(only, {"bak1": FACTS}, NOW).cells == {"bak1": "full 2 d ago, next in 6 d; incremental 3 h ago"}
    facts = {**FACTS, "backup_at.incremental": ""}
    assert status.status(only, {"bak1": facts}, NOW).cells == {"bak1": "full 2 d ago, next in 6 d"}
    first = status.status(stack, {"bak1": facts}, NOW - 2 * 86400).cells
    assert first == {"bak1": "full 13 h ago, next in 8 d; no incremental one, next in 2 d"}


def test_a_host_that_does_not_answer_has_no_cell(stack: Stack) -> None:
    assert status.status(stack, {"bak1": None}, NOW).cells == {}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"backup_at.full": "", "backup_at.incremental": ""}, "there is no usable backup. Take one: inv backup-now"),
        ({"backup_at.incremental": "1795200000"}, "the last usable backup is 1 d old. Take one: inv backup-now"),
        (
            {
                "unit.plainstack-backup-full.service.Result": "exit-code",
                "unit.plainstack-backup-full.service.ExecMainExitTimestamp": "Sun 2026-11-22 02:00:09 UTC",
            },
            "the last full backup failed, Sun 2026-11-22 02:00:09 UTC. See why: inv backup-now",
        ),
        (
            {"wal_missing": "1795309648.25"},
            "WAL has been missing since 2026-11-22 01:07:28 UTC: the primary removed it before Barman received it."
            " No moment since then can be restored. Take a full backup: inv backup-now",
        ),
        (
            {"clock_skew": "-3600.2"},
            "the clock is 1 h behind the primary's. The ages of backups, the moments that can be restored, and the age"
            " of recovered rows are wrong by that much, because commits have the primary's time. Check with timedatectl"
            " on both hosts which clock is right, and let both use NTP",
        ),
        (
            {"disk_free": "       73728"},
            "the disk of /var/lib/barman is full (72 KiB are free), so WAL cannot be received. The primary keeps"
            " it up to database.max_slot_wal_keep_size. Make the disk larger, or keep backups for a shorter time"
            " (backup.retention): then WAL is received again without a gap",
        ),
    ],
)
def test_status_says_what_is_wrong_and_what_to_type(stack: Stack, changed: dict[str, str], problem: str) -> None:
    assert status.status(stack, {"bak1": {**FACTS, **changed}}, NOW).problems == [("bak1", problem)]


def test_a_deploy_says_that_wal_is_missing_and_goes_on(stack: Stack) -> None:
    host = stack.hosts["bak1"]
    assert list(status.findings(stack, host, Observed(facts=FACTS))) == []
    assert list(status.findings(stack, host, Observed(facts={"disk_free": str(10**9)}))) == []
    assert len(list(status.findings(stack, host, Observed(facts={"disk_free": "0"})))) == 1
    assert list(status.findings(stack, host, Observed(facts={"clock_skew": "1.5"}))) == []
    assert len(list(status.findings(stack, host, Observed(facts={"clock_skew": "7"})))) == 1
    (found,) = status.findings(stack, host, Observed(facts={"wal_missing": "1795309648"}))
    assert found.text.startswith("WAL has been missing since 2026-11-22 01:07:28 UTC")
    assert (found.refused, found.always) == (False, True)


def test_who_has_tablespaces_learns_from_status_and_plans_that_a_restore_would_refuse_them(stack: Stack) -> None:
    seen = {"data": "yes", "running": "yes", "recovery": "false"}
    assert database.status(stack, {"db1": seen}, NOW).notes == []
    ((host, text),) = database.status(stack, {"db1": {**seen, "tablespaces": "yes"}}, NOW).notes
    assert host == "db1"
    assert "it refuses to restore everything" in text
    without = stack.model_copy(update={"hosts": {"db1": stack.hosts["db1"]}})
    assert database.status(without, {"db1": {**seen, "tablespaces": "yes"}}, NOW).notes == []
