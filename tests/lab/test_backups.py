"""Backups are taken, kept and listed; missing WAL is noticed and mended; an empty backup host is filled again."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from plainstack.postgresql.backup import barman
from plainstack.postgresql.layout import AS_POSTGRES, BIN, DATA, UNIT
from tests.lab.conftest import Operator
from tests.lab.whole import await_no_problems, await_whole
from tests.waiting import until

HOSTS = ("db1", "db2", "bak1", "mon1")
PRIMARY = "db1"
RECEIVING = "plainstack-barman-receive-wal.service plainstack-barman-cron.timer"
NEXT_SEGMENT = "select pg_logical_emit_message(false, 'x', 'y'), pg_switch_wal();"


def sql(operator: Operator, text: str) -> str:
    command = f"cd / && {AS_POSTGRES} {BIN}/psql -v ON_ERROR_STOP=1 -XAtqd shop"
    return operator.on(PRIMARY, f"{command} <<'END'\n{text}\nEND\n").strip()


def change(operator: Operator, old: str, new: str) -> None:
    """Change the inventory, and deploy it."""
    text = operator.inventory.read_text(encoding="utf-8")
    assert old in text
    operator.inventory.write_text(text.replace(old, new), encoding="utf-8")
    operator.inv("deploy")


def backups(operator: Operator, code: int | None = 0) -> dict[str, Any]:
    return dict(operator.json("backups", code=code))


def alerts(operator: Operator) -> set[str]:
    """Return the names of the alerts about bak1 that fire, or that will after their time."""
    ask = "curl -sS --data-urlencode 'query=ALERTS{instance=\"bak1\"}' http://127.0.0.1:9090/api/v1/query"
    found = json.loads(operator.on("mon1", ask))["data"]["result"]
    return {one["metric"]["alertname"] for one in found}


def retention(operator: Operator) -> dict[str, str]:
    """Return how the retention policy judges each backup, after it was applied."""
    operator.on("bak1", "systemctl start plainstack-barman-cron.service")
    return {one["id"]: one["retention"] for one in backups(operator, code=None)["backups"]}


@pytest.fixture(scope="module")
def operator(deployed: Operator) -> Operator:
    change(deployed, "database: {", "database: {max_slot_wal_keep_size: 64MB, ")
    return deployed


@pytest.fixture(scope="module")
def taken(operator: Operator) -> tuple[Any, Any]:
    """Return a full backup and an incremental one."""
    return operator.json("backup-now"), operator.json("backup-now", "--incremental")


def test_an_incremental_backup_is_based_on_the_newest_one_and_smaller(
    operator: Operator, taken: tuple[Any, Any]
) -> None:
    full, incremental = taken
    assert (full["kind"], incremental["kind"], incremental["parent"]) == ("full", "incremental", full["id"])
    assert incremental["size_bytes"] < full["size_bytes"] / 2
    listed = {one["id"]: one for one in backups(operator)["backups"]}
    for one in taken:
        assert listed[one["id"]]["usable"]
        assert listed[one["id"]]["wal_up_to"] >= one["end"]
        assert listed[one["id"]]["restore_test"] is None


def test_status_shows_the_newest_backups_and_when_the_next_are_due(operator: Operator, taken: tuple[Any, Any]) -> None:
    assert taken
    (row,) = until(lambda: [row for row in operator.json("status", "--host=bak1", code=None) if not row["problems"]])
    full, incremental = row["last_backup"].split("; ")
    assert full.startswith("full ")
    assert incremental.startswith("incremental ")
    assert all(", next in " in cell for cell in (full, incremental))


def test_the_full_backup_of_an_incremental_one_is_kept_and_both_go_together(
    operator: Operator, taken: tuple[Any, Any]
) -> None:
    full, incremental = (one["id"] for one in taken)
    change(operator, "RECOVERY WINDOW OF 7 DAYS", "REDUNDANCY 1")
    until(lambda: retention(operator) == {full: "VALID", incremental: "VALID"}, "older backups are removed")
    newer = operator.json("backup-now")["id"]
    until(lambda: retention(operator) == {newer: "VALID"}, "both are removed")
    change(operator, "REDUNDANCY 1", "RECOVERY WINDOW OF 7 DAYS")


def test_a_backup_that_fails_says_why_and_what_to_type(operator: Operator) -> None:
    operator.on(
        "bak1",
        "cd /var/lib/barman && cp -p .pgpass pgpass && sed -i 's/:streaming_barman:.*/:streaming_barman:no/' .pgpass",
    )
    try:
        said = operator.inv("backup-now", code=1).text
    finally:
        operator.on("bak1", "cd /var/lib/barman && mv pgpass .pgpass")
    assert "the primary refuses the password of streaming_barman" in said
    assert "inv deploy" in said
    base = f"/var/lib/barman/{operator.stack}/base"
    operator.on("bak1", f"mount -t tmpfs -o size=4m,mode=700,uid=barman,gid=barman tmpfs {base}")
    try:
        said = operator.inv("backup-now", code=1).text
    finally:
        # Barman's regular maintenance may be reading the folder.
        until(lambda: operator.on("bak1", f"umount {base} && echo done", check=False), f"umount {base}")
    assert "the disk of /var/lib/barman on the backup host is full" in said


def test_a_wal_file_that_was_removed_from_the_archive_is_noticed(operator: Operator) -> None:
    backup = operator.json("backup-now")
    sql(operator, NEXT_SEGMENT * 3)
    archive = f"/var/lib/barman/{operator.stack}/wals"

    def archived() -> list[str]:
        operator.on("bak1", f"runuser -u barman -- barman -q archive-wal {operator.stack}")
        found = operator.on("bak1", f"ls {archive}/*/ | grep -E '^[0-9A-F]{{24}}$'").split()
        return [name for name in found if name > backup["end_wal"]]

    until(lambda: len(archived()) >= 3, "three more segments are archived")
    lost = archived()[1]
    operator.on("bak1", f"mv {archive}/*/{lost} /root")
    said = operator.inv("backups", code=1).text
    operator.on("bak1", f"install -o barman -g barman -m 600 -p /root/{lost} {archive}/{lost[:16]}/{lost}")
    assert f"a WAL segment is missing, from {lost} on" in said
    assert "Take a backup: inv backup-now" in said
    assert backups(operator)["missing"] == []


def slot(operator: Operator, what: str, name: str = "barman") -> str:
    return sql(operator, f"select {what} from pg_replication_slots where slot_name = '{name}'")


def await_slot(operator: Operator, name: str, condition: str) -> None:
    until(lambda: slot(operator, condition, name) == "t", f"slot {name}: {condition}")


def test_a_slot_that_is_lost_before_its_readers_miss_anything_is_replaced_without_a_gap(operator: Operator) -> None:
    """An older copy takes the place of each slot, so that it exceeds the limit while its reader is up to date.

    The primary keeps at least wal_keep_size, 128 MB or 8 segments.
    """
    local, received = "set synchronous_commit = local;", "pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) < 16777216"
    names = ("barman", "db2")
    for name in names:
        sql(operator, f"select pg_copy_physical_replication_slot('{name}', 'old_{name}')")
    sql(operator, NEXT_SEGMENT * 7)
    for name in names:
        await_slot(operator, name, received)
    operator.on("bak1", f"systemctl stop {RECEIVING} plainstack-barman-cron.service")
    operator.on("db2", f"systemctl stop {UNIT}")
    for name in names:
        await_slot(operator, name, "not active")
        copied = f"pg_copy_physical_replication_slot('old_{name}', '{name}'), pg_drop_replication_slot('old_{name}')"
        sql(operator, f"{local} select pg_drop_replication_slot('{name}'), {copied}")
    sql(operator, f"{local} {NEXT_SEGMENT * 3}")

    def lost() -> bool:
        sql(operator, "checkpoint")
        return {slot(operator, "wal_status", name) for name in names} == {"lost"}

    until(lost)
    operator.on("bak1", f"systemctl start {RECEIVING}")
    operator.on("db2", f"systemctl start {UNIT}")
    for name in names:
        await_slot(operator, name, "active")
    assert slot(operator, "invalidation_reason is null") == "t"
    status = json.loads(operator.fab("status", "--json", code=None).out)
    assert any("slot db2 is lost: its reader still finds the WAL" in text for text in status["findings"]), status
    operator.inv("deploy")
    await_slot(operator, "db2", "active and invalidation_reason is null")
    await_whole(operator)
    await_no_problems(operator, "--host=bak1")
    assert backups(operator)["missing"] == []


def test_a_backup_host_that_was_away_for_too_long_starts_anew_and_everything_says_since_when(
    operator: Operator,
) -> None:
    operator.on("bak1", f"systemctl stop {RECEIVING} plainstack-barman-cron.service")
    part = operator.on("bak1", f"ls /var/lib/barman/{operator.stack}/streaming").split()[-1]
    assert part.endswith(".partial")

    def wal_is_removed() -> bool:
        sql(operator, f"{NEXT_SEGMENT * 6} checkpoint")
        kept = operator.on(PRIMARY, f"test -e {DATA}/pg_wal/{part.removesuffix('.partial')} && echo kept", check=False)
        return slot(operator, "wal_status") == "lost" and not kept

    until(wal_is_removed)
    status = json.loads(operator.fab("status", "--json", code=None).out)
    assert any("slot barman is lost: Barman was away for too long" in text for text in status["findings"])

    operator.on("bak1", f"systemctl start {RECEIVING}")
    missing = "WAL has been missing since 20"
    until(lambda: any(missing in text for text in operator.json("status", "--host=bak1", code=None)[0]["problems"]))
    mended = f"test -e /var/lib/barman/{operator.stack}/wal-mended && pgrep -x pg_receivewal"
    until(lambda: operator.on("bak1", mended, check=False), "Barman receives WAL again")
    said = operator.inv("deploy").out
    assert missing in said
    assert "Take a full backup: inv backup-now" in said
    assert missing in operator.fab("status", code=None).out
    operator.on("bak1", "systemctl start plainstack-backup-metrics.service")
    until(lambda: "BackupWalMissing" in alerts(operator), "BackupWalMissing")

    operator.inv("backup-now")
    held = backups(operator)
    assert len(held["missing"]) == 1
    assert len(held["recoverable"]) == 2
    await_no_problems(operator, "--host=bak1")


def test_prometheus_has_the_alerts_that_the_reported_values_call_for(operator: Operator) -> None:
    """The host reports an old backup, much WAL that was not received, a failed restore test and a wrong clock."""
    wrong = {
        "backup_last_success_timestamp_seconds": 1000,
        "barman_wal_lag_bytes": 10**9,
        "restore_test_ok": 0,
        "backup_clock_skew_seconds": -3600,
    }
    edits = " ".join(f"-e 's/^\\(plainstack_{name}{{.*}}\\) .*/\\1 {value}/'" for name, value in wrong.items())
    # A run that has begun, by the timer or after a backup, would write the right values again: wait until it has ended.
    written = "systemctl stop plainstack-backup-metrics.timer && systemctl start plainstack-backup-metrics.service"
    operator.on("bak1", f"{written} && sed -i {edits} {barman.METRICS}")
    wanted = {"BackupTooOld", "BackupWalBehind", "RestoreTestFailed", "BackupClockSkew"}
    until(lambda: wanted <= alerts(operator), wanted)
    clock = re.compile("the clock is .* behind the primary's.*timedatectl")
    assert clock.search(operator.inv("backups", code=1).text.replace("\n", " "))
    assert any(clock.search(text) for text in operator.json("status", "--host=bak1", code=None)[0]["problems"])
    operator.on("bak1", "systemctl start plainstack-backup-metrics.timer plainstack-backup-metrics.service")
    until(lambda: not wanted & alerts(operator), wanted)


def test_an_empty_backup_host_gets_its_files_its_wal_and_a_backup_by_a_deploy(operator: Operator) -> None:
    operator.on(
        "bak1",
        f"systemctl stop {RECEIVING} 'plainstack-backup*.timer' plainstack-barman-cron.service\n"
        f"rm -rf /var/lib/barman /etc/barman.d/{operator.stack}.conf /etc/barman.d/main.conf"
        " /etc/systemd/system/plainstack-ba* /etc/systemd/system/*/plainstack-ba*"
        " /usr/local/lib/plainstack /var/lib/plainstack/manifest/backup\n"
        "install -d -o barman -g barman /var/lib/barman && systemctl daemon-reload",
    )
    operator.inv("deploy")
    held = backups(operator)
    assert [one["usable"] for one in held["backups"]] == [True]
    assert held["missing"] == []
    # A segment that begins now arrives.
    before = held["received"]["wal"]
    sql(operator, NEXT_SEGMENT)
    until(lambda: backups(operator, code=None)["received"]["wal"] > before)
