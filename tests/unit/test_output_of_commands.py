"""The lab tests read all the output of a command that runs beside them, whatever part of it arrives at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.commands import await_end, await_output

ROOT = Path(__file__).parents[2]


@pytest.mark.programs
def test_lines_that_arrive_together_with_the_awaited_one_are_not_lost() -> None:
    words = ["sh", "-c", r"printf 'one\ntwo\nthree\n'; printf 'four\n'; exit 3"]
    with subprocess.Popen(words, text=True, stdout=subprocess.PIPE) as process:
        assert await_output(process, "two") == "one\ntwo\n"
        assert await_end(process) == "three\nfour\n"
        assert process.returncode == 3


def test_no_lab_test_reads_past_the_buffer_of_awaited_output() -> None:
    modules = sorted((ROOT / "tests/lab").glob("*.py"))
    assert modules
    assert [path.name for path in modules if ".communicate(" in path.read_text(encoding="utf-8")] == []
