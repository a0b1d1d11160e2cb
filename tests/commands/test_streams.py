"""Commands whose output is closed, or goes to a full disk: no traceback, and all work is finished.

The exit code stays the same, except that a command that only shows something fails if its output is lost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import namespace
from tests import prestarted
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
# No such lab is up, so that every connection fails at once, and no packet leaves the machine.
TEXT = """\
stack: streams
ssh: {user: root, gateway: lab}
hosts:
  app1: {address: 10.0.0.2, roles: [app]}
  db1: {address: 10.0.0.11, roles: [db]}
services:
  web: {source: SOURCE, project: incidents_site}
database: {name: shop}
"""
# Commands that hand the terminal to another program, or work on this machine's labs and snapshots.
LEFT_OUT = {"lab.up", "lab.down", "lab.shell", "lab.save", "lab.snapshots", "lab.forget"}
WORDS = {
    **{name: ["postgres/ap"] for name in ("secrets.rotate", "secrets.set", "secrets.unset")},
    "exec": ["web", "--command=env"],
    "console": ["web"],
    "shell": ["db1"],
}
INV = [["inv", name, *WORDS.get(name, [])] for name in namespace.task_names if name not in LEFT_OUT]
FAB = [["fab", "failover", action] for action in ("status", "promote", "drill", "drills", "statsu")]
JSON = [
    ["inv", name, "--json"]
    for name in ("plan", "status", "drift", "log", "logs", "secrets.list", "inventory.show", "roles")
]
SHOWS = {
    "plan",
    "status",
    "drift",
    "log",
    "logs",
    "verify",
    "secrets.list",
    "inventory.show",
    "inventory.schema",
    "roles",
    "lab.status",
    "drills",
}
# All commands share the guard of standard error, so these show what it does for inv and for fab.
ERRORS_LOST = {"plan", "deploy", "failover"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = TEXT.replace("SOURCE", str(ROOT / "apps/incidents"))
    (tmp_path / "hosts.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def shell(folder: Path, words: list[str], redirections: str) -> subprocess.Popen[str]:
    # An interpreter that starts with closed streams has none of its own.
    real = [str(Path(sys.executable).with_name(words[0]))]
    program = real if ">&-" in redirections else prestarted.program(words[0])
    line = [*program, *words[1:], f"--inventory={folder / 'hosts.yaml'}"]
    env = {**os.environ, "EDITOR": "true", "VISUAL": ""}
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *line],
        cwd=ROOT,
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("words", [*INV, *FAB, *JSON], ids=" ".join)
def test_a_command_ends_with_its_usual_exit_code_whatever_happens_to_its_output(folder: Path, words: list[str]) -> None:
    asked = shell(folder, words, "")
    out, err = asked.communicate(timeout=PATIENCE)
    assert "Traceback" not in err + out
    full = shell(folder, words, ">/dev/full")
    closed = shell(folder, words, "<&- >&- 2>&-")
    no_errors = shell(folder, words, "2>/dev/full") if not ERRORS_LOST.isdisjoint(words) else None
    gone = shell(folder, words, "")
    assert gone.stdout
    gone.stdout.close()
    gone.stdout = None
    for process in filter(None, (closed, no_errors, gone)):
        # Also reads the output, which may be larger than a pipe holds.
        said = process.communicate(timeout=PATIENCE)[1] or ""
        assert (process.returncode, "Traceback" in said, "Exception" in said) == (asked.returncode, False, False), said
    said = full.communicate(timeout=PATIENCE)[1]
    lost = bool(out) and not SHOWS.isdisjoint(words)
    assert (full.returncode, "Exception" in said) == (1 if lost else asked.returncode, False), said
    if out:
        assert "standard output cannot be written: No space left on device\n" in said


DEPLOY = """
import json, sys
from pathlib import Path
from types import SimpleNamespace as Made
from plainstack.cli import deploy_commands
from plainstack.deploy import deployment, observe
from plainstack.engine.plan.actions import HostPlan, Transaction
from plainstack.errors import HostFailed
from plainstack.deploy.schedule import Node, Outcome

class Observer(observe.Observer):
    def findings(self, view): return []
    def observe(self, listener, **_):
        listener.note("looking")
        return observe.View(self.stack, plans={"db1": HostPlan("db1", None, (Transaction("db", ()),))})

def deploy(observer, view, listener, command, **_):
    for number in range(3000):
        listener.note(f"line {number}")
    Path(sys.argv[1]).write_text("audit")
    error = HostFailed("db1", "db", "failed") if sys.argv[2] == "red" else None
    outcomes = [Outcome(Node("db1", "db"), 0, 1, error)]
    return Made(outcomes=outcomes, plans=view.plans, warnings=[], cancelled=Made(is_set=lambda: False))

observe.Observer, deployment.deploy = Observer, deploy
from invoke.exceptions import Exit
try:
    deploy_commands.deploy(sys.argv[3], "", "", json=sys.argv[4] == "json")
except Exit as end:
    sys.exit(end.code)
"""


@pytest.mark.parametrize("verdict", ["green", "red"])
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("where", [">/dev/full", ">&-", "2>&- >&-", "| head -n 1"])
def test_a_deploy_whose_output_fails_finishes_with_the_right_exit_code(
    folder: Path, verdict: str, form: str, where: str
) -> None:
    script, done = folder / "deploy.py", folder / "done"
    script.write_text(DEPLOY, encoding="utf-8")
    line = f'"$@" {where.partition("|")[0]}; echo $? >"{folder}/code"'
    reader = where.partition("|")[2]
    program = [sys.executable, str(script)] if ">&-" in where else prestarted.program(str(script))
    words = [*program, str(done), verdict, str(folder / "hosts.yaml"), form]
    ran = subprocess.run(
        ["sh", "-c", f"{{ {line}; }} | {reader}" if reader else line, "sh", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    assert "Exception" not in ran.stderr
    assert done.read_text(encoding="utf-8") == "audit"
    assert (folder / "code").read_text(encoding="utf-8").strip() == {"green": "0", "red": "1"}[verdict]
    if verdict == "red" and form == "text" and "2>&-" not in where:
        assert "db1: db: failed" in ran.stderr


def test_characters_that_the_terminal_cannot_encode_do_not_end_a_command() -> None:
    script = "from plainstack.cli.console import Console; Console().line('█ done')"
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "? done\n", "")


def test_the_error_names_a_folder_that_cannot_be_written(folder: Path) -> None:
    """The folder behaves as on a full or read-only disk."""
    (folder / ".plainstack").write_text("in the way", encoding="utf-8")
    ran = shell(folder, ["inv", "deploy"], "")
    out, err = ran.communicate(timeout=PATIENCE)
    assert (ran.returncode, "Traceback" in err) == (1, False)
    assert f"{folder}/.plainstack" in out + err
    ran = shell(folder, ["inv", "deploy", "--json"], "")
    assert f"{folder}/.plainstack" in json.loads(ran.communicate(timeout=PATIENCE)[0])["error"]
