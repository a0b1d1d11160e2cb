"""`--help` of every command says what the command does and explains every option."""

from __future__ import annotations

import subprocess

import pytest

from plainstack.shipped import ROOT
from tasks import namespace
from tests import prestarted
from tests.waiting import PATIENCE


@pytest.mark.parametrize("words", ["fab failover", *(f"inv {name}" for name in namespace.task_names)])
def test_help_describes_every_command_and_every_option(words: str) -> None:
    program, *task = words.split()
    line = [*prestarted.program(program), *task, "--help"]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr
    said, _, options = ran.stdout.partition("Options:")
    assert len(said.partition("Docstring:")[2].split()) > 4
    explained = [line for line in options.splitlines() if line.lstrip().startswith("-")]
    assert explained
    assert [line for line in explained if len(line.split()) < 4] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deplyo"], "there is no command 'deplyo', did you mean 'deploy'?\n"),
        (["--help", "lab.don"], "there is no command 'lab.don', did you mean 'lab.down'?\n"),
        (["deploy", "--hots=db1"], "there is no option '--hots' of inv deploy, did you mean '--host'?\n"),
        (["deploy", "--zzz"], "there is no option '--zzz' of inv deploy; inv deploy --help shows them all\n"),
        (["zzz"], "there is no command 'zzz'; inv --list shows them all\n"),
    ],
)
def test_a_misspelled_command_or_option_gets_a_suggestion(words: list[str], said: str) -> None:
    line = [*prestarted.program("inv"), *words]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", said)
