"""The scripts of restore steps: sh can parse each, and what they stop is exactly what they start again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from plainstack.postgresql.restore import facts, processes
from plainstack.postgresql.restore.acts import Act, RestoreStep
from plainstack.postgresql.restore.situation import RECORDS, Files, Request
from plainstack.postgresql.restore.step_scripts import body
from plainstack.postgresql.restore.steps import script
from plainstack.postgresql.shell_paths import DATA, RESTORING
from plainstack.postgresql.step_frame import Origin

REQUEST = Request("20261126T120000", "noon", "at 'noon'", ("--backup=1", "--at=it's noon"), "db1", "db1", ("web",))
FILES = Files("web", "var/media", "app1", "S1", 10)
ABOUT = {
    Act.RECORD: (REQUEST.id, REQUEST.as_json()),
    Act.MARK: (REQUEST.id, "undo"),
    Act.RECOVER: REQUEST.target,
    Act.CLOSE: REQUEST.closed,
    Act.OPEN: REQUEST.closed,
    Act.STAND_DOWN: (REQUEST.id, REQUEST.says),
    Act.COPY: ("bak1",),
    Act.REANCHOR: (REQUEST.id, "reanchored"),
    Act.BACKUP: (REQUEST.id, "backed-up"),
    Act.PREPARE_FILES: (REQUEST.id, *FILES.words),
    Act.COPY_FILES: FILES.words,
    Act.SWAP_FILES: (REQUEST.id, *FILES.words),
    Act.UNDO_FILES: (REQUEST.id, FILES.key),
    Act.DISCARD_FILES: (FILES.key, f"before-{REQUEST.id}"),
}


def step(do: Act, host: str = "db1") -> RestoreStep:
    return RestoreStep(do, host, "what 'it' does", ABOUT.get(do, (REQUEST.id,)))


@pytest.mark.programs
@pytest.mark.parametrize("do", list(Act))
def test_every_step_is_valid_shell(stack: Stack, do: Act) -> None:
    host = "app1" if do in (Act.HALT, Act.RESUME) else "db1"
    text = script(stack, step(do, host), Origin("me@here", "-", "inv restore --at='noon'"))
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


@pytest.mark.programs
def test_every_question_is_valid_shell(stack: Stack) -> None:
    asked = facts.questions(stack)
    for part in (asked.databases, asked.backup, asked.processes, asked.doors):
        for text in part.values():
            subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_a_server_is_marked_before_it_stops_and_its_data_moves_only_while_it_is_marked(stack: Stack) -> None:
    text = body(stack, step(Act.STAND_DOWN), "me")
    assert text.index(f"sync {RESTORING}") < text.index("systemctl stop")
    for do, moved in ((Act.PUT_ASIDE, f"mv {DATA} "), (Act.PUT_BACK, f"mv {DATA}.before-")):
        text = body(stack, step(do), "me")
        assert text.index(f"[ -e {RESTORING} ]") < text.index("pgrep") < text.index(moved)


def test_a_request_is_read_as_it_was_recorded() -> None:
    assert Request.parse(REQUEST.as_json(), "") == REQUEST
    assert Request.parse(REQUEST.as_json(), "finished").finished
    assert not Request.parse(REQUEST.as_json(), "finished undo").finished
    assert Request.parse(REQUEST.as_json(), "finished undo undone").finished
    assert RECORDS.startswith("/var/lib/plainstack/")


SYSTEMCTL = """\
#!/bin/sh
verb=$1
shift
for unit in "$@"; do
    case $verb in
    is-active) [ ! -e "$ROOT/active/$unit" ] || echo active ;;
    stop) rm -f "$ROOT/active/$unit" ;;
    start) touch "$ROOT/active/$unit" ;;
    esac
done
"""


@pytest.mark.programs
def test_the_processes_that_ran_and_only_they_run_again_after_a_restore(stack: Stack, tmp_path: Path) -> None:
    active = tmp_path / "active"
    active.mkdir()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    host = stack.hosts["app1"]
    (active / "plainstack-web.service").touch()

    def run(text: str) -> str:
        environment = {"ROOT": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        done = subprocess.run(["sh", "-e"], input=text, text=True, check=True, capture_output=True, env=environment)
        return done.stdout

    assert "running=1" in run(processes.facts(stack, host))
    run(processes.halt(stack, host))
    assert not list(active.iterdir())
    # The command was interrupted here, and is typed again.
    run(processes.halt(stack, host))
    assert run(processes.facts(stack, host)).splitlines() == ["running=0", "halted=yes"]
    run(processes.RESUME)
    assert [path.name for path in active.iterdir()] == ["plainstack-web.service"]
    assert run(processes.facts(stack, host)).splitlines() == ["running=1"]
    run(processes.RESUME)
