"""Barman's catalogue: the script that reads it, run by a real Python on files as Barman writes them, and its parser."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plainstack.errors import PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import catalogue
from plainstack.postgresql.backup.barman import METRICS
from plainstack.postgresql.backup.catalogue import Backup, Catalogue, Partial, Run, Tablespace
from plainstack.postgresql.backup.recoverable import gaps, windows
from plainstack.postgresql.backup.tested import RestoreTest
from tests import inventories
from tests.unit.postgresql.backup.holdings import INFO


@pytest.fixture
def stack() -> Stack:
    hosts = "{db1: {address: 10.0.0.1, roles: [db]}, bak1: {address: 10.0.0.3, roles: [backup]}}"
    return inventories.parse(f"stack: shop\nhosts: {hosts}\ndatabase: {{name: shop}}\n", "test.yaml", Path())


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """Return the folder of a server that holds nothing yet."""
    folder = tmp_path / "var/lib/barman/shop"
    for name in ("meta", "streaming", "wals/0000000100000000", "wals/0000000200000000"):
        (folder / name).mkdir(parents=True)
    return folder


def _wal(held: Path, where: str, seconds: int) -> None:
    (held / where).write_bytes(b"")
    # The receiver makes a file of the whole length before it writes into it.
    os.truncate(held / where, 2**24)
    os.utime(held / where, (seconds, seconds))


def _read(stack: Stack, tmp_path: Path, **tools: str) -> tuple[Catalogue, str]:
    environment = {**os.environ, "ROOT": str(tmp_path)}
    for name, text in tools.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
        environment["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    text = catalogue.script(stack, retention=bool(tools))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, env=environment, check=True)
    return catalogue.parse(done.stdout), done.stderr


@pytest.mark.programs
def test_an_empty_backup_host_holds_nothing(stack: Stack, tmp_path: Path) -> None:
    found, errors = _read(stack, tmp_path)
    assert (found, errors) == (Catalogue("shop"), "")
    assert (found.newest, found.received) == (None, None)


@pytest.mark.programs
def test_backups_are_read_with_their_sizes_times_and_tablespaces(stack: Stack, tmp_path: Path, held: Path) -> None:
    spaces = "tablespaces=[('fast', 16385, '/srv/fast')]"
    (held / "meta/20261122T010727-backup.info").write_text(INFO.replace("tablespaces=None", spaces))
    child = INFO.replace("parent_backup_id=None", "parent_backup_id=20261122T010727")
    (held / "meta/20261123T010727-backup.info").write_text(child.replace("deduplicated_size=32160780", "x=1"))
    (held / "meta/20261124T010727-backup.info").write_text("status=EMPTY\nserver_name=shop\n")
    found, _ = _read(stack, tmp_path)
    full, incremental, empty = found.backups
    assert full == Backup(
        id="20261122T010727",
        begin=datetime(2026, 11, 22, 1, 7, 27, 664444, UTC),
        end=datetime(2026, 11, 22, 1, 7, 28, 337458, UTC),
        size=32160780,
        deduplicated=32160780,
        cluster=32487528,
        timeline=1,
        begin_wal="000000010000000000000003",
        end_wal="000000010000000000000004",
        begin_lsn="0/3000028",
        end_lsn="0/4000000",
        tablespaces=(Tablespace("fast", 16385, "/srv/fast"),),
    )
    assert (incremental.kind, incremental.parent, incremental.deduplicated) == ("incremental", full.id, None)
    assert (empty.status, empty.end, empty.seconds) == ("EMPTY", None, None)
    assert found.usable == (full, incremental)


@pytest.mark.programs
def test_received_wal_is_read_as_runs_with_their_times(stack: Stack, tmp_path: Path, held: Path) -> None:
    for seconds, name in enumerate(("0000000100000000000000FE", "0000000100000000000000FF"), 100):
        _wal(held, f"wals/0000000100000000/{name}", seconds)
    _wal(held, "wals/0000000100000000/0000000100000000000000FE.00000028.backup", 100)
    _wal(held, "streaming/000000010000000100000000", 102)
    _wal(held, "wals/0000000200000000/000000020000000100000002", 110)
    _wal(held, "streaming/000000020000000100000003.partial", 111)
    (held / "wals/00000002.history").write_bytes(gzip.compress(b"1\t1/2000060\tno recovery target specified\n\n"))
    found, _ = _read(stack, tmp_path)
    assert found.runs == (
        Run("0000000100000000000000FE", "000000010000000100000000", _at(100), _at(102)),
        Run("000000020000000100000002", "000000020000000100000002", _at(110), _at(110)),
    )
    assert found.history == ((1, "1/2000060"),)
    assert [(one.number, one.history) for one in found.timelines] == [(2, found.history)]
    (held / "wals/00000002.history").rename(held / "streaming/00000002.history")
    assert _read(stack, tmp_path)[0].timelines == found.timelines
    assert found.received == Partial("000000020000000100000003", _at(111))


@pytest.mark.programs
def test_a_segment_that_did_not_get_its_length_on_a_full_disk_is_not_received_wal(
    stack: Stack, tmp_path: Path, held: Path
) -> None:
    _wal(held, "streaming/000000010000000000000028", 100)
    _wal(held, "streaming/000000010000000000000029.partial", 500)
    os.truncate(held / "streaming/000000010000000000000029.partial", 3 * 2**20)
    found, _ = _read(stack, tmp_path)
    assert found.received == Partial("000000010000000000000028", _at(100))


@pytest.mark.programs
def test_what_a_restore_abandoned_is_not_claimed_to_be_recoverable(stack: Stack, tmp_path: Path, held: Path) -> None:
    """The database went back to a moment in segment 5. Timeline 1 was received up to 9, timeline 2 from 7 on."""
    (held / "meta/20261122T010727-backup.info").write_text(INFO)
    end = int(datetime(2026, 11, 22, 1, 7, 28, tzinfo=UTC).timestamp())
    for number in range(3, 10):
        _wal(held, f"wals/0000000100000000/00000001{number:016X}", end + 10 * number)
    for number in (7, 8):
        _wal(held, f"wals/0000000200000000/00000002{number:016X}", end + 1000 + number)
    (held / "wals/00000002.history").write_text("1\t0/5000060\tbefore 2026-11-22 01:08:01+00\n")
    found, _ = _read(stack, tmp_path)
    assert [run.last[-1] for run in found.runs] == ["5", "9", "8"]
    assert [until for _, until in windows(found)] == [_at(end + 50)]
    (gap,) = gaps(found)
    assert (gap.first[:8], gap.count, gap.after, gap.before) == ("00000002", 2, _at(end + 50), _at(end + 1007))


@pytest.mark.programs
def test_the_clock_is_as_the_metrics_say(stack: Stack, tmp_path: Path) -> None:
    assert _read(stack, tmp_path)[0].clock_skew == 0
    metrics = tmp_path / METRICS.lstrip("/")
    metrics.parent.mkdir(parents=True)
    metrics.write_text('plainstack_backup_clock_skew_seconds{server="shop"} -3600.25\n')
    assert _read(stack, tmp_path)[0].clock_skew == -3600.25


@pytest.mark.programs
def test_barman_says_what_its_retention_policy_makes_of_a_backup(stack: Stack, tmp_path: Path, held: Path) -> None:
    (held / "meta/20261122T010727-backup.info").write_text(INFO)
    (held / "meta/20261123T010727-backup.info").write_text(INFO.replace("DONE", "FAILED"))
    judged = [
        {"backup_id": "20261122T010727", "retention_status": "-", "status": "DONE"},
        {"backup_id": "20261123T010727", "status": "FAILED"},
    ]
    found, _ = _read(stack, tmp_path, runuser=f"echo '{json.dumps({'shop': judged})}'")
    assert [one.retention for one in found.backups] == ["VALID", ""]
    found, errors = _read(stack, tmp_path, runuser="echo 'ERROR: no such server'; exit 1")
    assert [one.retention for one in found.backups] == ["", ""]
    assert errors == "barman list-backups shop: ERROR: no such server\n"


@pytest.mark.programs
def test_the_results_of_restore_tests_are_read(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/plainstack/restore-tests"
    folder.mkdir(parents=True)
    result = {"backup": "a", "at": "2026-11-22T03:00:00Z", "passed": False, "seconds": 12.5, "problems": ["it burned"]}
    (folder / "a.json").write_text(json.dumps(result))
    (folder / "b.json").write_text("{")
    found, errors = _read(stack, tmp_path)
    at = datetime(2026, 11, 22, 3, tzinfo=UTC)
    assert found.restore_tests == {"a": RestoreTest("a", at, False, 12.5, None, ("it burned",))}
    assert "b.json: " in errors
    assert found.test_refused == ""
    (folder / "refused").mkdir()
    (folder / "refused/last.json").write_text('{"why": "the disk is too small"}')
    found, _ = _read(stack, tmp_path)
    assert list(found.restore_tests) == ["a"]
    assert found.test_refused == "the disk is too small"


@pytest.mark.parametrize("text", ["", "\n\n", "no JSON", "[]", "{}", '{"server": "shop", "backups": 1}', "null"])
def test_anything_but_a_catalogue_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(PlainstackError, match="the backup host did not print Barman's catalogue but"):
        catalogue.parse(text)


def test_an_incremental_backup_without_its_parents_is_not_usable() -> None:
    full, child = Backup(id="1"), Backup(id="2", kind="incremental", parent="1")
    grandchild = Backup(id="3", kind="incremental", parent="2")
    assert Catalogue("shop", (full, child, grandchild)).chain(grandchild) == (full, child, grandchild)
    assert Catalogue("shop", (full, grandchild)).usable == (full,)
    failed = Backup(id="2", kind="incremental", parent="1", status="FAILED")
    assert Catalogue("shop", (full, failed, grandchild)).newest == full


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
