"""`inv logs`, `shell`, `exec` and `console`: how command lines are parsed, and which mistakes need no connection."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import prestarted
from tests.commands.test_streams import ROOT, TEXT
from tests.waiting import PATIENCE

# A program that prints the arguments of a command's function instead of running the command.
RECORD = Path(__file__).with_name("recorded.py")


def understood(*words: str) -> list[object]:
    """Return the arguments that a command's function gets for a command line, without the inventory."""
    ran = subprocess.run(
        [*prestarted.program(str(RECORD)), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [word for word in json.loads(ran.stdout) if word != "hosts.yaml"]


@pytest.mark.parametrize(
    ("typed", "host", "command"),
    [
        (["web", "--", "manage.py", "migrate", "--noinput"], "", "manage.py migrate --noinput"),
        (["web", "--host=app2", "--", "ls", "-h", "--host=x"], "app2", "ls -h --host=x"),
        (["web", "-h", "app2", "--", "ls"], "app2", "ls"),
        (["web", "manage.py", "check", "--deploy"], "", "manage.py check --deploy"),
        (["--host", "app2", "web", "sh", "-c", "echo $HOME; ls *"], "app2", "sh -c 'echo $HOME; ls *'"),
        (["web", "--", "psql", "-c", "select 'a b'"], "", "psql -c 'select '\"'\"'a b'\"'\"''"),
        (["web", "--", "sh", "-c", "a -- b", "--", "c"], "", "sh -c 'a -- b' -- c"),
        (["web", "--", "plan"], "", "plan"),
        (["web", "--command=manage.py check"], "", "manage.py check"),
        (["web"], "", ""),
    ],
)
def test_the_command_of_exec_needs_no_quoting(typed: list[str], host: str, command: str) -> None:
    assert understood("exec", *typed) == ["web", host, command, {"everywhere": False}]


def test_exec_can_run_on_all_hosts() -> None:
    assert understood("exec", "web", "--all", "--", "uptime", "--all") == [
        "web",
        "",
        "uptime --all",
        {"everywhere": True},
    ]


@pytest.mark.parametrize(
    ("typed", "names", "since"),
    [
        ([], [], ""),
        (["web"], ["web"], ""),
        (["web", "db", "--since=1h"], ["web", "db"], "1h"),
        (["--follow", "web"], ["web"], ""),
        (["-f", "web", "-s", "2h"], ["web"], "2h"),
        (["--since", "1h", "web"], ["web"], "1h"),
        (["plan"], ["plan"], ""),
    ],
)
def test_log_names_may_come_before_or_after_the_options(typed: list[str], names: list[str], since: str) -> None:
    found, _, options = understood("logs", *typed)
    assert isinstance(options, dict)
    assert (found, options["since"]) == (names, since)


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    text = TEXT.replace("SOURCE", str(ROOT / "apps/incidents"))
    (tmp_path / "hosts.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "hosts.yaml"


def typed(inventory: Path, *words: str, code: int = 1) -> str:
    """Return a command's stderr. The lab is not up: a command that tries to reach the hosts fails and says so."""
    line = [*prestarted.program("inv"), words[0], f"--inventory={inventory}", *words[1:]]
    ran = subprocess.run(
        line, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ran.returncode, "Traceback" in ran.stderr, ran.stdout) == (code, False, "")
    return ran.stderr


NOT_UP = "the lab is not up. Run: inv lab.up\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("logs", "--since=1x"), "--since=1x: not a time: write how long ago, such as 90s"),
        (("logs", "web", "--lines=many"), "--lines=many: write how many of the last entries to show"),
        (("logs", "web", "--host=db1"), "no chosen host has web; these have: app1"),
        (("logs", "web", "--host=db9"), "unknown host 'db9', did you mean 'db1'?"),
        (("logs", "db1"), "db1 is a host: inv logs --host=db1"),
        (("exec", "wbe", "--", "ls"), "unknown service 'wbe', did you mean 'web'?; known: web"),
        (("exec", "web"), "which command? inv exec web -- COMMAND"),
        (("exec", "web", "--host=db1", "--", "ls"), "db1 does not run web; these do: app1"),
        (("exec", "web", "--host=ap1", "--", "ls"), "unknown host 'ap1', did you mean 'app1'?"),
        (("exec", "web", "--host=app1", "--all", "--", "ls"), "name the hosts with --host, or take all with --all"),
        (("exec", "web", "--command=it's"), "--command: No closing quotation"),
        (("console", "wbe"), "unknown service 'wbe', did you mean 'web'?; known: web"),
        (("stop", "wbe"), "unknown service 'wbe', did you mean 'web'?; known: web"),
        (("stop", "web", "--process=wbe"), "unknown process or timer of web 'wbe', did you mean 'web'?; known: web"),
        (("start", "web", "--host=db1"), "db1: does not run web; these do: app1"),
        (("maintenance", "onn"), "unknown action 'onn', did you mean 'on'?; known: on, off, status"),
        (("maintenance", "off", "--message=x"), "--message is what visitors read during maintenance; maintenance off"),
        (("maintenance", "on", "--message=a\tb"), "--message: must be one line of printable text"),
        (("maintenance", "on"), "this stack has no host that could show visitors a maintenance page"),
        (("restart", "wbe"), "unknown service 'wbe', did you mean 'web'?; known: web"),
        (("restart", "web", "--process=wbe"), "unknown process of web 'wbe', did you mean 'web'?; known: web"),
        (("restart", "web", "--host=db1"), "db1: does not run web; these do: app1"),
        (("shell", "db9"), "unknown host 'db9', did you mean 'db1'?; known: app1, db1"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_a_usage_error_is_reported_before_any_host_is_contacted(
    inventory: Path, words: tuple[str, ...], said: str
) -> None:
    error = typed(inventory, *words)
    assert error.startswith(said)
    assert NOT_UP not in error


@pytest.mark.parametrize(
    "words",
    [
        ("logs",),
        ("logs", "web", "-f"),
        ("exec", "web", "--", "ls"),
        ("console", "web"),
        ("shell", "db1"),
        ("restart", "web"),
    ],
)
def test_correct_arguments_reach_the_hosts(inventory: Path, words: tuple[str, ...]) -> None:
    assert typed(inventory, *words) == NOT_UP
