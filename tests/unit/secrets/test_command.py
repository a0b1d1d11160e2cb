"""Secrets that a command prints: what becomes the value, and what is refused. A refusal never shows the output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plainstack.errors import Refused
from plainstack.secrets import command
from tests.waiting import until

pytestmark = pytest.mark.programs


def value(line: str, folder: Path) -> str:
    return command.values({"web/KEY": line}, folder)["web/KEY"].reveal()


def refusal(line: str, folder: Path, seconds: float = command.SECONDS) -> str:
    with pytest.raises(Refused) as caught:
        command.values({"web/KEY": line}, folder, seconds)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("echo hunter2", "hunter2"),
        ("printf hunter2", "hunter2"),
        (r"printf 'one\ntwo\n\n'", "one\ntwo\n"),
        ("echo first; echo warning >&2", "first"),
        ("printf '%s\\n' one two | head -n1", "one"),
        ("cat; echo ended", "ended"),
        ("head -c 65536 /dev/zero | tr '\\0' x", "x" * 65536),
        ("cat secret.txt", "beside the inventory"),
    ],
)
def test_the_output_is_the_value_without_its_last_newline(line: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("beside the inventory\n", encoding="utf-8")
    assert value(line, tmp_path) == found


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ("echo hunter2; echo 'no such entry' >&2; exit 3", "its command failed (exit code 3)\n    no such entry"),
        ("true", "what its command prints must not be empty"),
        ("echo", "what its command prints must not be empty"),
        ("false | head -n1", "what its command prints must not be empty"),
        ("printf 'hunter2\\0'", "what its command prints must not contain a NUL character"),
        ("printf 'hunter2\\377'", "what its command prints must be UTF-8 text"),
        ("yes hunter2", "its command prints more than 65,536 bytes"),
        ("head -c 65537 /dev/zero | tr '\\0' x", "what its command prints must not have more than 65,536 bytes"),
        ("read answer </dev/tty", "its command failed (exit code"),
    ],
)
def test_an_invalid_value_is_refused_with_stderr_but_without_the_output(
    line: str, reported: str, tmp_path: Path
) -> None:
    text = refusal(line, tmp_path)
    assert text.startswith(f"web/KEY: {reported}")
    assert "hunter2" not in text


def test_a_command_that_takes_too_long_is_killed_with_all_its_children(tmp_path: Path) -> None:
    line = f"sh -c 'echo $$ >{tmp_path}/pid; exec sleep 1000' | cat"
    # Time enough to start the child, on a busy machine as well.
    assert refusal(line, tmp_path, 2) == "web/KEY: its command did not end within 2 s"
    state = Path(f"/proc/{(tmp_path / 'pid').read_text(encoding='ascii').strip()}/stat")

    def ended() -> bool:
        try:
            return state.read_text("utf-8").split()[2] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    until(ended)


def test_commands_run_in_parallel_and_each_runs_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "one")
    # Each command needs the other: neither can end before both have begun.
    lines = {
        "web/ONE": f"echo x >>{tmp_path}/runs; echo 1 >{tmp_path}/one; echo first",
        "web/TWO": f"cat {tmp_path}/one >/dev/null; echo second",
        "web/SAME": f"echo x >>{tmp_path}/runs; echo 1 >{tmp_path}/one; echo first",
    }
    for _ in range(2):
        found = command.values(lines, tmp_path)
        assert [secret.reveal() for secret in found.values()] == ["first", "second", "first"]
        assert (tmp_path / "runs").read_text(encoding="ascii") == "x\n"


def test_all_failing_commands_are_named(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        command.values({"web/A": "exit 1", "web/B": "echo b", "web/C": "exit 2"}, tmp_path)
    assert str(caught.value) == ("web/A: its command failed (exit code 1)\nweb/C: its command failed (exit code 2)")
