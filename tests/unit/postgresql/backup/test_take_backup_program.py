"""take-backup on the backup host, with a fake Barman."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from plainstack.shipped import FILES

LIBRARY = FILES / "backup" / "usr/local/lib/plainstack"


def _take_backup(folder: Path, kind: str = "full") -> subprocess.CompletedProcess[str]:
    words = ["sh", str(LIBRARY / "take-backup"), "shop", str(folder), "host=db1 user=barman", kind]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.programs
def test_a_backup_ends_when_it_can_be_restored(folder: Path) -> None:
    done = _take_backup(folder)
    assert (done.returncode, done.stdout) == (0, "backup 20261122T010000 can be restored\n")
    assert (folder / "meta" / "20261122T010000-backup.info").read_text() == "status=DONE\n"


@pytest.mark.programs
def test_the_first_backup_waits_for_wal_beforehand_and_every_backup_waits_for_it_afterwards(folder: Path) -> None:
    _take_backup(folder)
    _take_backup(folder)
    log = (folder.parent / "log").read_text().splitlines()
    segments = [line.partition("pg_create_restore_point('")[2].split("'")[0] for line in log if "psql" in line]
    assert segments == ["plainstack: first WAL", *["plainstack: end of backup 20261122T010000"] * 2]


@pytest.mark.programs
def test_missing_wal_fails_the_backup_with_a_hint_where_to_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEEDS", "1000")
    done = _take_backup(folder)
    assert done.returncode == 1
    assert "WAL that it needs has not arrived; see why: systemctl status plainstack-barman-receive-wal" in done.stderr


@pytest.mark.programs
def test_a_backup_that_cannot_start_reports_the_failed_checks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "1")
    done = _take_backup(folder)
    assert done.returncode == 1
    assert "PostgreSQL: FAILED" in done.stderr
    assert "WAL archive" not in done.stderr


@pytest.mark.programs
def test_an_incremental_backup_is_based_on_the_newest_usable_one(folder: Path) -> None:
    for name, status in (("20261119T000000", "DONE"), ("20261120T000000", "DONE"), ("20261121T000000", "FAILED")):
        (folder / "meta" / f"{name}-backup.info").write_text(f"status={status}\n")
    assert _take_backup(folder, "incremental").returncode == 0
    assert "backup --incremental 20261120T000000 shop" in (folder.parent / "log").read_text().splitlines()


@pytest.mark.programs
@pytest.mark.parametrize("wal", ["", "missing"])
def test_a_scheduled_incremental_backup_becomes_a_full_one_if_it_has_no_base_or_wal_is_missing(
    folder: Path, wal: str
) -> None:
    if wal:
        (folder / "meta/20261120T000000-backup.info").write_text("status=DONE\n")
        (folder / "wal-missing").write_text("1795309648\nwhy\n")
    done = _take_backup(folder, "incremental")
    assert done.stdout.startswith("a full backup is taken: ")
    assert "backup shop" in (folder.parent / "log").read_text().splitlines()
    assert not (folder / "wal-missing").exists()


@pytest.mark.programs
def test_incomplete_earlier_backups_are_removed_after_a_complete_one(folder: Path) -> None:
    for name, status in (("20261120T000000", "DONE"), ("20261121T000000", "STARTED"), ("20261121T100000", "FAILED")):
        (folder / "meta" / f"{name}-backup.info").write_text(f"status={status}\n")
    # That of the other one is gone, and Barman fails without it.
    (folder / "base/20261121T000000").mkdir(parents=True)
    assert _take_backup(folder).returncode == 0
    left = sorted(path.name for path in (folder / "meta").iterdir())
    assert left == ["20261120T000000-backup.info", "20261122T010000-backup.info"]
