"""Editing and listing secrets: no output shows a value, and an edit leaves no file behind, even if it is killed."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets import editor, store
from tests import inventories, prestarted
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
# A process that a test sends a signal to.
REAL = (str(Path(sys.executable).with_name("inv")),)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEXT = """\
stack: editing
hosts:
  app1: {address: 10.0.0.2, roles: [app]}
  db1: {address: 10.0.0.11, roles: [db]}
services:
  web:
    source: SOURCE
    project: incidents_site
    env: {DB_PASSWORD: "${database.password}"}
    secrets:
      DJANGO_SECRET_KEY: {generate: 50, fallbacks: DJANGO_SECRET_KEY_FALLBACKS}
      API_TOKEN: {generate: 43, fallbacks: API_TOKEN_PREVIOUS}
database: {name: shop}
"""


@pytest.fixture
def small(tmp_path: Path) -> Stack:
    path = tmp_path / "hosts.yaml"
    path.write_text(TEXT.replace("SOURCE", str(ROOT / "apps/incidents")), encoding="utf-8")
    return inventories.load(path)


def values(stack: Stack) -> dict[str, str]:
    return {name: entry.value.reveal() for name, entry in store.read(stack).entries.items()}


def start(
    stack: Stack, command: str, editor: str = "", *words: str, program: Sequence[str] = ()
) -> subprocess.Popen[str]:
    line = [*(program or prestarted.program("inv")), command, *words, f"--inventory={stack.folder / 'hosts.yaml'}"]
    script = stack.folder / "editor"
    script.write_text(f"#!/bin/sh\n{editor}\n", encoding="utf-8")
    script.chmod(0o755)
    return subprocess.Popen(
        line,
        cwd=ROOT,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "EDITOR": str(script), "VISUAL": ""},
    )


def edit(stack: Stack, editor: str, code: int = 0) -> str:
    note = stack.folder / "parent-of-the-editor"
    process = start(stack, "secrets.edit", f"echo $PPID >'{note}'\n{editor}")
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, out
    assert not left_behind(int(note.read_text(encoding="ascii")))
    note.unlink()
    for value in values(stack).values():
        assert value not in out
    return out


def left_behind(pid: int) -> list[Path]:
    return list(editor.MEMORY.glob(f"plainstack-secrets-{os.getuid()}-{pid}-*"))


NEW = "a-value-of-the-operator"


def test_a_changed_value_is_saved_and_only_its_name_is_reported(small: Stack) -> None:
    out = edit(small, f"sed -i 's|^postgres/rewinder: .*|postgres/rewinder: {NEW}|' \"$1\"")
    assert values(small)["postgres/rewinder"] == NEW
    assert "changed: postgres/rewinder\n" in out
    assert "not deployed yet; to deploy: inv deploy\n" in out
    assert NEW not in out


def test_changing_a_database_password_starts_a_rotation(small: Stack) -> None:
    out = edit(small, f"sed -i 's|^postgres/app: .*|postgres/app: {NEW}|' \"$1\"")
    assert "not deployed yet; to deploy: inv secrets.rotate postgres/app\n" in out
    entry = store.read(small).entries["postgres/app"]
    assert (entry.value.reveal(), entry.handovers) == (NEW, 1)
    assert entry.previous is not None
    again = edit(small, f"sed -i 's|^postgres/app: .*|postgres/app: other-{NEW}|' \"$1\"", code=1)
    assert ("postgres/app is being rotated; finish that first: inv secrets.rotate postgres/app") in again


def test_the_editor_gets_a_private_file_in_memory(small: Stack, tmp_path: Path) -> None:
    edit(small, f'stat -c "%a %n" "$1" "${{1%/*}}" >{tmp_path}/seen')
    (mode, path), (folder_mode, folder) = (
        line.split() for line in (tmp_path / "seen").read_text(encoding="utf-8").splitlines()
    )
    assert (mode, folder_mode) == ("600", "700")
    assert path.startswith("/dev/shm/")
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("editor", "code", "reported"),
    [
        ("exit 0", 0, "nothing was changed"),
        (': >"$1"', 0, "nothing was changed"),
        ("exit 3", 1, "the editor exited with code 3. Nothing was saved"),
        ("kill -KILL $$", 1, "the editor exited with code -9. Nothing was saved"),
        ("kill -INT $PPID; exit 1", 1, "the editor exited with code 1. Nothing was saved"),
        (
            f"echo 'postgres/rewindr: {NEW}' >>\"$1\"",
            1,
            "no role uses a secret of this name. Known secrets: postgres/app, ",
        ),
        (f'echo {NEW} >"$1"', 1, "line 1: is not of the form NAME: VALUE"),
        ('sed -i /rewinder/d "$1"', 1, "missing, although in use: postgres/rewinder"),
        ("sed -i 's|^postgres/rewinder: .*|postgres/rewinder: short|' \"$1\"", 1, "must have 20 to 128 characters"),
        (
            f'sed -i \'s|^postgres/rewinder: .*|postgres/rewinder: "{NEW} and"|\' "$1"',
            1,
            "must have 20 to 128 characters",
        ),
        (f'sed -i \'s|^postgres/rewinder: .*|postgres/rewinder: "{NEW}|\' "$1"', 1, "is not of the form NAME: VALUE"),
    ],
)
def test_invalid_text_is_refused_and_changes_nothing(small: Stack, editor: str, code: int, reported: str) -> None:
    edit(small, "exit 0")
    before = values(small)
    out = edit(small, editor, code)
    assert reported in out
    assert NEW not in out
    assert out.count(reported) == 1
    assert values(small) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_killed_edit_leaves_no_file(small: Stack, number: signal.Signals) -> None:
    process = start(small, "secrets.edit", "exec sleep 1000", program=REAL)
    _await_file(process.pid)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert not left_behind(process.pid)


def test_files_left_by_sigkill_are_removed_by_the_next_edit(small: Stack) -> None:
    # The editor ends when inv is dead. It closes its output, so that `communicate` does not wait for the editor.
    process = start(small, "secrets.edit", "exec >&- 2>&-; while kill -0 $PPID; do sleep 0.1; done", program=REAL)
    _await_file(process.pid)
    process.kill()
    process.communicate(timeout=PATIENCE)
    # Do not check what the kill left behind: any other edit on this machine may have removed it already.
    edit(small, "exit 0")
    assert not left_behind(process.pid)


def _await_file(pid: int) -> None:
    until(lambda: any(list(folder.glob("*.secrets")) for folder in left_behind(pid)))
    (folder,) = left_behind(pid)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_value_that_another_operator_changed_meanwhile_is_not_lost(small: Stack) -> None:
    edit(small, "exit 0")
    before = values(small)["postgres/rewinder"]
    store.set_values(small, {"postgres/rewinder": (before, "theirs")}, {}, NOW)
    with pytest.raises(Refused, match="another run changed postgres/rewinder in the meantime"):
        store.set_values(small, {"postgres/rewinder": (before, NEW)}, {}, NOW)
    assert values(small)["postgres/rewinder"] == "theirs"


def test_the_list_shows_names_and_uses_but_no_values(small: Stack) -> None:
    edit(small, "exit 0")
    process = start(small, "secrets.list", "", "--json")
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out
    for value in values(small).values():
        assert value not in out
    assert "PRIVATE KEY" not in out
    assert re.search(r'"name": "postgres/app",\n    "kind": "generated",\n    "made": "20', out)
    lines = start(small, "secrets.list").communicate(timeout=PATIENCE)[0].splitlines()
    (line,) = [line for line in lines if line.startswith("postgres/app ")]
    assert "app (app1)" in line
    assert "db (db1)" in line


def test_an_error_about_an_unknown_name_lists_the_known_names(small: Stack) -> None:
    out = start(small, "secrets.rotate", "", "postgres/ap").communicate(timeout=PATIENCE)[0]
    assert "no secret is called 'postgres/ap'; known: postgres/app" in out
