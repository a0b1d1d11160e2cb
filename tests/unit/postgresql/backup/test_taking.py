"""Backups on request: their scripts, run by a real sh with stand-ins for the host's programs, and their output."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import barman, failures, folders, progress, status, taking
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
    _tool(tmp_path, "df", "printf 'Avail\n 4096\n'")
    printed = _sh(tmp_path, status.facts(stack, stack.hosts["bak1"])).stdout
    assert printed.splitlines() == ["backup_at.full=1795309648", "disk_free= 4096"]
    assert _sh(tmp_path, barman.has_backup(stack)).returncode == 0


def test_a_missing_usable_backup_is_not_an_error(stack: Stack, tmp_path: Path, meta: Path) -> None:
    for _ in range(2):
        assert "backup_at" not in _sh(tmp_path, status.facts(stack, stack.hosts["bak1"])).stdout
        assert _sh(tmp_path, barman.has_backup(stack)).returncode != 0
        (meta / "20261122T010727-backup.info").write_text(INFO.replace("DONE", "FAILED"))


_SYSTEMCTL = """\
echo "$*" >>"$ROOT/log"
case $* in
*ActiveState,Result*) printf 'ActiveState=%s\nResult=success\n' "$STATE" ;;
*ActiveState*) echo "$STATE" ;;
*ExecMainStartTimestamp*) echo "Sun 2026-11-22 01:19:28 UTC" ;;
esac
"""


def _begin(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "full", state: str = "inactive"
) -> subprocess.CompletedProcess[str]:
    monkeypatch.setenv("STATE", state)
    _tool(tmp_path, "systemctl", _SYSTEMCTL)
    _tool(tmp_path, "runuser", "echo 30694624")
    return _sh(tmp_path, taking.begin_script(stack, kind))


def test_a_backup_is_started_and_its_size_estimated(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _begin(stack, tmp_path, monkeypatch)
    assert (done.returncode, done.stdout, done.stderr) == (0, "30694624\n", "")
    assert "start --no-block plainstack-backup-full.service" in (tmp_path / "log").read_text().splitlines()


@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_a_second_backup_is_refused_with_the_start_time_of_the_running_one(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    done = _begin(stack, tmp_path, monkeypatch, kind, "activating")
    assert done.returncode == taking.BUSY
    assert "a backup is already running, since Sun 2026-11-22 01:19:28 UTC" in done.stderr


def test_an_incremental_backup_needs_a_usable_one(
    stack: Stack, tmp_path: Path, meta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (meta / "20261122T010727-backup.info").write_text(INFO.replace("DONE", "FAILED"))
    done = _begin(stack, tmp_path, monkeypatch, "incremental")
    assert done.returncode == taking.NO_BASE
    assert "needs a full one to be based on, and there is none. Take one: inv backup-now" in done.stderr
    (meta / "20261122T010727-backup.info").write_text(INFO)
    assert _begin(stack, tmp_path, monkeypatch, "incremental").returncode == 0
    (meta.parent / "wal-missing").write_text("1795309648\n")
    done = _begin(stack, tmp_path, monkeypatch, "incremental")
    assert done.returncode == taking.NO_BASE
    assert "WAL after the last backup is missing, so a full one is needed" in done.stderr


def _look(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> progress.Progress:
    monkeypatch.setenv("STATE", state)
    _tool(tmp_path, "systemctl", _SYSTEMCTL)
    return progress.parse(_sh(tmp_path, taking.look_script(stack, "full")).stdout, "20261121T010000", 1000_000)


def test_a_running_backup_is_looked_at(
    stack: Stack, tmp_path: Path, meta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (meta / "20261121T010000-backup.info").write_text(INFO)
    assert _look(stack, tmp_path, monkeypatch, "activating") == progress.Progress(total=1000_000)
    (meta / "20261122T010727-backup.info").write_text(INFO.replace("DONE", "STARTED"))
    base = meta.parent / "base/20261122T010727"
    base.mkdir(parents=True)
    (base / "file").write_bytes(b"x" * 300_000)
    now = _look(stack, tmp_path, monkeypatch, "activating")
    assert (now.ended, now.id, now.status, now.percent) == (False, "20261122T010727", "STARTED", 30)
    (meta / "20261122T010727-backup.info").write_text(INFO)
    ended = _look(stack, tmp_path, monkeypatch, "inactive")
    assert (ended.ended, ended.succeeded, ended.status) == (True, True, "DONE")


def test_what_explains_a_failure_is_collected(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(tmp_path, "systemctl", _SYSTEMCTL)
    _tool(tmp_path, "df", "printf 'Avail\\n 4096\\n'")
    _tool(
        tmp_path,
        "journalctl",
        """[ "$1" = --sync ] && : >"$ROOT/synced" || ! [ -e "$ROOT/synced" ] || echo 'the last words'""",
    )
    _tool(tmp_path, "runuser", """echo '{"shop": {"directories": {"status": "FAILED", "hint": "no"}}}'; exit 1""")
    log = tmp_path / "var/log/barman/barman.log"
    log.parent.mkdir(parents=True)
    log.write_text("2026-11-22 01:19:27,1 old\n2026-11-22 01:19:28,1 new\n")
    monkeypatch.setenv("TZ", "UTC")
    found = failures.parse(_sh(tmp_path, taking.explain_script(stack, "full")).stdout)
    assert found == failures.Failure(4096, ("the last words",), ("2026-11-22 01:19:28,1 new",), {"directories": "no"})


@pytest.mark.parametrize("state", ["dead", "start", "auto-restart"])
def test_a_snapshot_on_request_has_what_was_there_before_although_another_one_is_under_way(
    tmp_path: Path, state: str
) -> None:
    """systemd does not start a unit that is running: it waits for its end."""
    (tmp_path / "state").write_text(state)
    (tmp_path / "folder").write_text("uploaded before the command")
    systemd = f"""cd {tmp_path}
    case $1 in
    show) echo "SubState=$(cat state)" ;;
    start) [ "$(cat state)" = start ] || cp folder snapshot; echo dead >state ;;
    esac"""
    _tool(tmp_path, "systemctl", systemd)
    _tool(tmp_path, "runuser", f"cat {tmp_path}/snapshot")
    assert _sh(tmp_path, folders.run_script(folders.UNIT)).stdout == "uploaded before the command"
