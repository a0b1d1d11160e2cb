"""Backups that are restored on the backup host: as a test, to look at a moment, and for one table of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from plainstack.postgresql.layout import BIN, UNIT
from plainstack.postgresql.restore import elsewhere, scratch
from tests.lab import labs
from tests.lab.conftest import Operator
from tests.lab.database import primary
from tests.lab.writer import Writer, sql
from tests.waiting import PATIENCE, until

HOSTS = ("db1", "db2", "bak1")
# A table whose file in a backup is found by its content.
FILL = """\
create table restored_test (id int primary key, what text);
insert into restored_test select n, 'recognizable ' || n from generate_series(1, 2000) n"""


def in_scratch(operator: Operator, found: scratch.Restored, text: str) -> str:
    """Run a query in a scratch cluster."""
    where = f"host={found.socket} port={found.port} user=postgres dbname=shop"
    return operator.on("bak1", f"{BIN}/psql -XAtq -d '{where}' -c \"{text}\"").strip()


def left(operator: Operator) -> list[str]:
    """Return what scratch clusters have left on the backup host: folders and server processes."""
    looked = operator.on("bak1", f"ls {scratch.FOLDER}; pgrep -x postgres || :")
    return looked.split()


def await_left(operator: Operator, *names: str) -> None:
    """Wait until scratch clusters have left only these folders: a server's process ends a moment after its files."""
    until(lambda: left(operator) == [*names])


def inventory() -> str:
    """Return the default inventory with nothing but a database and its backups; the other hosts are not started."""
    text = re.sub(r"roles: \[(?:balancer|app|monitoring)\]", "roles: []", labs.default_inventory())
    return re.sub(r"^(?:balancer|services):.*\n(?: .*\n)*", "", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def backed_up(project: Path) -> Iterator[tuple[Operator, Any]]:
    """Start the hosts, and yield their operator with a backup that contains the table."""
    with labs.from_snapshot("restore-test", inventory(), project, HOSTS) as operator:
        operator.inv("deploy", timeout=1200)
        sql(operator, FILL)
        yield operator, operator.json("backup-now")


def test_a_backup_that_can_be_restored_passes_and_nothing_of_it_stays(backed_up: tuple[Operator, Any]) -> None:
    operator, backup = backed_up
    result = operator.json("restore-test")
    assert (result["backup"], result["passed"], result["problems"]) == (backup["id"], True, [])
    assert result["rows"] >= 2000
    assert not [note for note in result["notes"] if "compared" in note]
    assert result["seconds"] > 0
    assert 0 <= result["rpo_seconds"] < 600
    await_left(operator)
    listed = {one["id"]: one for one in operator.json("backups")["backups"]}
    assert listed[backup["id"]]["restore_test"]["passed"]


def test_a_db_host_copies_the_restored_cluster_and_checks_the_copy_apart_from_the_live_one(
    backed_up: tuple[Operator, Any],
) -> None:
    operator, backup = backed_up
    result = operator.json("restore-test", f"--backup={backup['id']}", "--host=db2")
    assert (result["host"], result["passed"], result["problems"]) == ("db2", True, [])
    listed = {one["id"]: one for one in operator.json("backups")["backups"]}
    assert listed[backup["id"]]["restore_test"]["host"] == "db2"
    await_left(operator)
    assert not operator.on("db2", f"ls -d {elsewhere.FOLDER} 2>/dev/null", check=False)
    refused = operator.inv("restore-test", "--host=app1", code=1).text
    assert "app1 does not have the role db" in refused


def test_a_file_of_the_backup_that_changed_is_caught_with_its_table(backed_up: tuple[Operator, Any]) -> None:
    operator, backup = backed_up
    folder = f"/var/lib/barman/{operator.stack}/base/{backup['id']}"
    find = f"grep -rl 'recognizable 1999' {folder}/data/base | head -n 1"
    file = operator.on("bak1", find).strip()
    operator.on(
        "bak1", f"cp -a {file} /root/whole && printf XXXX | dd of={file} bs=1 seek=9000 conv=notrunc status=none"
    )
    try:
        result = operator.json("restore-test", code=1)
    finally:
        operator.on("bak1", f"cp -a /root/whole {file}")
    assert not result["passed"]
    (found,) = [one for one in result["problems"] if "checksum mismatch" in one]
    assert found.startswith("table public.restored_test of database shop: ")
    await_left(operator)


def test_wal_that_is_missing_is_caught_with_its_file(backed_up: tuple[Operator, Any]) -> None:
    operator, backup = backed_up
    archive = f"/var/lib/barman/{operator.stack}"
    # The backup needs its last segment, and the record was made after it.
    end = operator.on("bak1", f"sed -n 's/^end_wal=//p' {archive}/meta/{backup['id']}-backup.info").strip()
    file = f"{archive}/wals/{end[:16]}/{end}"
    operator.on("bak1", f"mv {file} /root/")
    try:
        result = operator.json("restore-test", code=1)
    finally:
        operator.on("bak1", f"mv /root/{end} {file}")
    assert any(end in problem and "missing" in problem for problem in result["problems"]), result["problems"]


def test_an_incremental_backup_can_be_restored_with_the_full_one_that_it_is_based_on(
    backed_up: tuple[Operator, Any],
) -> None:
    operator, _ = backed_up
    sql(operator, "insert into restored_test values (2500, 'after the full backup')")
    backup = operator.json("backup-now", "--incremental")
    result = operator.json("restore-test")
    assert (result["backup"], result["passed"], result["problems"]) == (backup["id"], True, [])
    assert backup["kind"] == "incremental"
    assert result["rows"] >= 2001


def test_a_backup_taken_while_rows_are_written_is_not_called_damaged(backed_up: tuple[Operator, Any]) -> None:
    operator, _ = backed_up
    sql(operator, "create table written (id bigserial, at timestamptz default clock_timestamp())")
    host = primary(operator)
    write = "yes 'insert into written default values;' | psql -q shop"
    operator.on(host, f'systemd-run --quiet --unit=writes --uid=postgres sh -c "{write}"')
    try:
        backup = operator.json("backup-now")
    finally:
        operator.on(host, "systemctl stop writes")
    result = operator.json("restore-test")
    assert (result["backup"], result["problems"]) == (backup["id"], [])
    # The table is equal, or the test says why it cannot tell.
    assert all("written could not be compared" in note for note in result["notes"])


def lose_the_primary_during_a_backup(operator: Operator) -> str:
    """Kill PostgreSQL on the primary while it is copied, and return what the command that takes the backup says."""
    host = primary(operator)
    settings = "/etc/barman.d/main.conf"
    operator.on("bak1", f"cp -p {settings} /root/settings && echo 'bandwidth_limit = 500' >>{settings}")
    with ThreadPoolExecutor() as pool:
        # Not one that only prints its version for a check of Barman. A small database would be copied quickly.
        pause = "pkill -STOP -f '^[^ ]*pg_basebackup .*--pgdata'"
        paused = pool.submit(
            operator.on, "bak1", f"timeout {PATIENCE} sh <<'END'\nuntil {pause}; do sleep 0.02; done\nEND\n"
        )
        taking = pool.submit(operator.inv, "backup-now", code=1)
        paused.result()
        operator.on("bak1", f"cp -p /root/settings {settings}")
        operator.on(host, f"systemctl kill --signal=KILL {UNIT}")
        operator.on("bak1", "pkill -CONT -x pg_basebackup")
        return taking.result().text


def test_barman_follows_a_switchover_and_a_failover_during_a_backup_without_a_gap(
    backed_up: tuple[Operator, Any],
) -> None:
    """One backup from before both reaches moments before, during and after them."""
    operator, backup = backed_up
    writer = Writer(operator)
    try:
        counts = [writer.some()]
        operator.fab("switchover", "--yes")
        counts.append(writer.some())
        said = lose_the_primary_during_a_backup(operator)
        assert "no usable backup was taken: the primary became unreachable" in said
        # Its exit code is 1, because an earlier test damaged the first backup and restored it.
        listed = operator.json("backups", code=None)["backups"]
        (failed,) = [one for one in listed if one["status"] == "FAILED"]
        assert not failed["usable"]
        operator.fab("promote", "--yes")
        counts.append(writer.some())
    finally:
        writer.stop()
    rows = writer.rows
    times = [float(row) for row in rows]
    # The longest pause is the one without a primary.
    pauses = [
        max(range(first - 1, last - 1), key=lambda n: times[n + 1] - times[n]) for first, last in pairwise(counts)
    ]
    for last in (1, pauses[0], counts[1] - 2, pauses[1], counts[2] - 2):
        moment = (times[last] + times[last + 1]) / 2 if last in pauses else times[last + 1]
        at = datetime.fromtimestamp(moment, UTC).isoformat()
        start = scratch.start_script("look", (f"--backup={backup['id']}", f"--at={at}"))
        found = scratch.parse(operator.on("bak1", start))
        restored = in_scratch(operator, found, "select extract(epoch from at) from moments").split()
        assert set(rows[: last + 1]) <= set(restored)
        assert all(float(row) <= moment for row in restored)
        # A second start of the same cluster neither restores nor waits.
        assert last != 1 or scratch.parse(operator.on("bak1", start)) == found
        operator.on("bak1", scratch.stop_script("look"))
    await_left(operator)
    newer = operator.json("backup-now")
    held = operator.json("backups", code=None)
    assert held["missing"] == []
    assert [one["id"] for one in held["backups"] if one["usable"]][-1] == newer["id"]
    assert all(one["usable"] for one in held["backups"])


def test_a_moment_after_the_last_commit_is_the_end_of_the_wal_only_if_asked(backed_up: tuple[Operator, Any]) -> None:
    operator, backup = backed_up
    words = (f"--backup={backup['id']}", "--lsn=FF/0")
    start = scratch.start_script("look", words).strip()
    refused = operator.on("bak1", f"{start} 2>&1", check=False)
    assert "the WAL ends before --lsn=FF/0 is reached" in refused
    await_left(operator, "look")
    again = scratch.start_script("look", (*words, "--or-end"))
    assert scratch.parse(operator.on("bak1", again)).reached == "end of WAL"
    operator.on("bak1", scratch.stop_script("look"))
    await_left(operator)


def test_one_table_comes_back_as_a_copy_with_another_name(backed_up: tuple[Operator, Any]) -> None:
    operator, _ = backed_up
    sql(operator, "alter table restored_test owner to app")
    at = sql(operator, "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"+00\"')")
    sql(operator, "delete from restored_test")
    done = operator.json("restore", f"--at={at}", "--table=public.restored_test", "--into=came_back")
    assert (done["rows"], done["as"]) == (2001, "table public.came_back")
    kept = "select tableowner, (select count(*) from came_back) from pg_tables where tablename = 'came_back'"
    assert sql(operator, kept) == "app|2001"
    assert sql(operator, "select count(*) from restored_test") == "0"
    refused = operator.inv("restore", f"--at={at}", "--table=public.restored_test", "--into=came_back", code=1)
    assert "already exists" in refused.text
    await_left(operator)
