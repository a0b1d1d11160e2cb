"""Backups on request: their scripts, run by a real sh with stand-ins for the host's programs, and their output."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plainstack.errors import PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.postgresql import barman
from tests import inventories

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  db2: {address: 10.0.0.2, roles: [db]}
  bak1: {address: 10.0.0.3, roles: [backup]}
database: {name: shop}
"""

# Written by Barman 3.13.3 on a Debian 13 host, shortened.
INFO = """\
backup_label='START WAL LOCATION: 0/3000028\\nCHECKPOINT LOCATION: 0/3000080\\n'
begin_time=2026-11-22 01:07:27.664444+00:00
begin_wal=000000010000000000000003
cluster_size=32487528
copy_stats={'copy_time': 0.656179, 'total_time': 0.656179}
end_time=2026-11-22 01:07:28.337458+00:00
mode=postgres
size=32160780
status=DONE
xlog_segment_size=16777216
"""


@pytest.fixture
def stack() -> Stack:
    return inventories.parse(TEXT, "test.yaml", Path())


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    folder = tmp_path / barman.HOME.lstrip("/") / "shop/meta"
    folder.mkdir(parents=True)
    return folder


def _sh(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    tools = {**os.environ, "ROOT": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=tools, check=False)


def _tool(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (tmp_path / "bin" / name).chmod(0o755)


def test_barman_finds_the_primary_over_verified_tls(stack: Stack) -> None:
    words = barman.conninfo(stack).split()
    assert {"host=db1,db2", "target_session_attrs=read-write", "sslmode=verify-full"} <= set(words)


def test_the_newest_usable_backup_is_found_among_failed_ones(stack: Stack, tmp_path: Path, catalogue: Path) -> None:
    (catalogue / "20261121T010000-backup.info").write_text(INFO.replace("32160780", "1"))
    (catalogue / "20261122T010727-backup.info").write_text(INFO)
    (catalogue / "20261123T010000-backup.info").write_text(INFO.replace("DONE", "FAILED"))
    (catalogue / "20261124T010000-backup.info").write_text(INFO.replace("DONE", "WAITING_FOR_WALS"))
    done = _sh(tmp_path, "set -eu\n" + barman.last_backup_snippet(stack))
    assert barman.parse_backup(done.stdout) == barman.Backup(
        id="20261122T010727",
        size_bytes=32160780,
        seconds=0.673014,
        begin=datetime(2026, 11, 22, 1, 7, 27, 664444, UTC),
        end=datetime(2026, 11, 22, 1, 7, 28, 337458, UTC),
    )
    assert _sh(tmp_path, barman.facts(stack)).stdout == "backup_at=1795309648\n"
    assert _sh(tmp_path, barman.has_backup(stack)).returncode == 0


def test_a_missing_usable_backup_is_not_an_error(stack: Stack, tmp_path: Path, catalogue: Path) -> None:
    for _ in range(2):
        done = _sh(tmp_path, "set -eu\n" + barman.last_backup_snippet(stack))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert _sh(tmp_path, barman.facts(stack)).stdout == ""
        assert _sh(tmp_path, barman.has_backup(stack)).returncode != 0
        (catalogue / "20261122T010727-backup.info").write_text(INFO.replace("DONE", "FAILED"))


@pytest.mark.parametrize("text", ["", "\n\n", "no JSON", "[]", "{}", '{"id": "x", "size": "many"}', "null"])
def test_an_invalid_description_of_a_backup_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(PlainstackError, match="not the description of a backup"):
        barman.parse_backup(text)


def test_messages_before_the_description_are_ignored() -> None:
    line = (
        '{"id": "a", "begin_time": "2026-11-22 01:00:00+00:00", "end_time": "2026-11-22 01:00:05+00:00", "size": "7"}'
    )
    assert barman.parse_backup(f"Running as unit\n{line}\n\n").seconds == 5


_SYSTEMCTL = """\
case $* in
*ActiveState*) echo "$STATE" ;;
*ExecMainStartTimestamp*) echo "Sun 2026-11-22 01:19:28 UTC" ;;
start*) [ "$STATE" != broken ] || exit 1 ;;
esac
"""


def _backup_now(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> subprocess.CompletedProcess[str]:
    monkeypatch.setenv("STATE", state)
    _tool(tmp_path, "systemctl", _SYSTEMCTL)
    _tool(tmp_path, "journalctl", "echo 'the last words'")
    return _sh(tmp_path, barman.backup_script(stack))


def test_a_second_backup_is_refused_with_the_start_time_of_the_running_one(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _backup_now(stack, tmp_path, monkeypatch, "activating")
    assert done.returncode == barman.BUSY
    assert "a backup is already running, since Sun 2026-11-22 01:19:28 UTC" in done.stderr


def test_a_failed_backup_ends_with_its_last_output(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _backup_now(stack, tmp_path, monkeypatch, "broken")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "the last words\n")


def test_a_backup_ends_with_its_description(
    stack: Stack, tmp_path: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (catalogue / "20261122T010727-backup.info").write_text(INFO)
    done = _backup_now(stack, tmp_path, monkeypatch, "inactive")
    assert barman.parse_backup(done.stdout).id == "20261122T010727"
