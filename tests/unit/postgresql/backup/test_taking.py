"""Backups on request: their scripts, run by a real sh with stand-ins for the host's programs, and their output."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import barman, catalogue, status, taking
from tests import inventories
from tests.unit.postgresql.backup.holdings import INFO

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  db2: {address: 10.0.0.2, roles: [db]}
  bak1: {address: 10.0.0.3, roles: [backup]}
database: {name: shop}
"""


@pytest.fixture
def stack() -> Stack:
    return inventories.parse(TEXT, "test.yaml", Path())


@pytest.fixture
def meta(tmp_path: Path) -> Path:
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


def test_the_probe_finds_the_newest_usable_backup_among_failed_ones(stack: Stack, tmp_path: Path, meta: Path) -> None:
    (meta / "20261121T010000-backup.info").write_text(INFO.replace("01:07:28", "00:07:28"))
    (meta / "20261122T010727-backup.info").write_text(INFO)
    (meta / "20261123T010000-backup.info").write_text(INFO.replace("DONE", "FAILED"))
    (meta / "20261124T010000-backup.info").write_text(INFO.replace("DONE", "WAITING_FOR_WALS"))
    assert _sh(tmp_path, status.facts(stack, stack.hosts["bak1"])).stdout == "backup_at.full=1795309648\n"
    assert _sh(tmp_path, barman.has_backup(stack)).returncode == 0


def test_a_missing_usable_backup_is_not_an_error(stack: Stack, tmp_path: Path, meta: Path) -> None:
    for _ in range(2):
        assert _sh(tmp_path, status.facts(stack, stack.hosts["bak1"])).stdout == ""
        assert _sh(tmp_path, barman.has_backup(stack)).returncode != 0
        (meta / "20261122T010727-backup.info").write_text(INFO.replace("DONE", "FAILED"))


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
    return _sh(tmp_path, taking.backup_script(stack))


def test_a_second_backup_is_refused_with_the_start_time_of_the_running_one(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _backup_now(stack, tmp_path, monkeypatch, "activating")
    assert done.returncode == taking.BUSY
    assert "a backup is already running, since Sun 2026-11-22 01:19:28 UTC" in done.stderr


def test_a_failed_backup_ends_with_its_last_output(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _backup_now(stack, tmp_path, monkeypatch, "broken")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "the last words\n")


def test_a_backup_ends_with_its_description(
    stack: Stack, tmp_path: Path, meta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (meta / "20261122T010727-backup.info").write_text(INFO)
    done = _backup_now(stack, tmp_path, monkeypatch, "inactive")
    newest = catalogue.parse(done.stdout).newest
    assert newest is not None
    assert (newest.id, newest.seconds) == ("20261122T010727", 0.673014)
