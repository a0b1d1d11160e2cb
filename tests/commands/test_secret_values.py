"""Secrets that a person sets or a command prints: a run that needs unset secrets names them before it does anything."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from plainstack.cli import command
from plainstack.secrets import store
from tests import prestarted
from tests.commands.test_streams import ROOT
from tests.waiting import PATIENCE

INV = str(Path(sys.executable).with_name("inv"))
ROLE = '''"""Mail."""

from plainstack.engine.resources import File
from plainstack.engine.role import DeclaredSecret, FromCommand, Given, Role


def secrets(stack):
    for host in stack.with_role("mail"):
        yield DeclaredSecret(f"{host.name}/PASSWORD", origin=Given())
        yield DeclaredSecret(f"{host.name}/TOKEN", origin=Given())
    yield DeclaredSecret("mail/PRINTED", origin=FromCommand("echo ran >>ran; LINE"))


def desired(stack, host, vault, network):
    text = "".join(vault.password(secret.name).reveal() for secret in secrets(stack))
    yield File(path="/etc/mail", content=text.encode(), mode=0o600, secret=True)


ROLE = Role(name="mail", desired=desired, secrets=secrets)
'''
TEXT = """\
stack: values
ssh: {user: root, gateway: lab}
hosts:
  a: {address: 10.0.0.2, roles: [mail]}
  b: {address: 10.0.0.11, roles: [mail]}
  c: {address: 10.0.0.3}
"""
UNSET = [
    f"the secret {name} is not set; set it: inv secrets.set {name}"
    for name in ("a/PASSWORD", "a/TOKEN", "b/PASSWORD", "b/TOKEN")
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, "echo printed")


def write(folder: Path, line: str) -> Path:
    (folder / "hosts.yaml").write_text(TEXT, encoding="utf-8")
    (folder / "roles").mkdir()
    (folder / "roles/mail.py").write_text(ROLE.replace("LINE", line), encoding="utf-8")
    return folder


def inv(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [*prestarted.program("inv"), *words, f"--inventory={folder / 'hosts.yaml'}"]
    ran = subprocess.run(
        line, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "Traceback" not in ran.stderr
    return ran


@pytest.mark.parametrize("words", [("plan",), ("deploy",), ("plan", "--role=mail"), ("deploy", "--host=a,b,c")])
def test_the_error_lists_all_unset_secrets_with_the_command_that_sets_each(
    folder: Path, words: tuple[str, ...]
) -> None:
    ran = inv(folder, *words)
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == UNSET
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("command", ["plan", "deploy"])
def test_unset_secrets_are_also_reported_as_json(folder: Path, command: str) -> None:
    ran = inv(folder, command, "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout) == {"error": "\n".join(UNSET)}


def test_only_secrets_of_the_chosen_hosts_are_required(folder: Path) -> None:
    ran = inv(folder, "plan", "--host=c")
    # The message that the lab is not up shows that the plan tried to reach the host.
    assert "is not up" in ran.stderr
    assert "is not set" not in ran.stderr
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("words", [("status",), ("drift",)])
def test_read_only_commands_need_no_values(folder: Path, words: tuple[str, ...]) -> None:
    ran = inv(folder, *words)
    assert "is not up" in ran.stdout + ran.stderr
    assert not (folder / "ran").exists()


def piped(folder: Path, name: str, value: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    line = [*prestarted.program("inv"), "secrets.set", name, *words, f"--inventory={folder / 'hosts.yaml'}"]
    ran = subprocess.run(line, cwd=ROOT, input=value, capture_output=True, timeout=PATIENCE, check=False)
    assert b"Traceback" not in ran.stderr
    return ran


def typed(folder: Path, name: str, *answers: str) -> tuple[int, str]:
    """Set a secret on a terminal; return the exit code and what the terminal shows."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(INV, [INV, "secrets.set", name, f"--inventory={folder / 'hosts.yaml'}"])
    seen = ""
    for question, answer in zip((f"{name}: ", f"{name}, again: "), answers, strict=False):
        while question not in seen:
            seen += os.read(terminal, 1000).decode()
        os.write(terminal, answer.encode())
    with suppress(OSError):
        while data := os.read(terminal, 1000):
            seen += data.decode()
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen


def value_of(folder: Path, name: str) -> str | None:
    entry = store.read(command.load(str(folder / "hosts.yaml"))).entries.get(name)
    return entry.value.reveal() if entry else None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"hunter2\n", "hunter2"),
        (b"hunter2", "hunter2"),
        (b"two\nlines\n\n", "two\nlines\n"),
        (b" $(x) '\"\\ \xc3\xa4\r\n", " $(x) '\"\\ ä\r"),
        (b"x" * 65536 + b"\n", "x" * 65536),
    ],
)
def test_a_value_from_a_pipe_is_stored_without_its_last_newline(folder: Path, given: bytes, kept: str) -> None:
    ran = piped(folder, "a/PASSWORD", given)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == b"a/PASSWORD is set\nnot deployed yet; to deploy: inv deploy\n"
    assert value_of(folder, "a/PASSWORD") == kept
    assert piped(folder, "a/PASSWORD", given).stdout == b"a/PASSWORD has this value already\n"


@pytest.mark.parametrize(
    ("name", "given", "reported"),
    [
        ("a/PASSWORD", b"", "a/PASSWORD must not be empty; nothing was changed"),
        ("a/PASSWORD", b"\n", "a/PASSWORD must not be empty; nothing was changed"),
        ("a/PASSWORD", b"hunter2\0", "a/PASSWORD must not contain a NUL character; nothing was changed"),
        ("a/PASSWORD", b"hunter2\xff", "the value is not UTF-8 text; nothing was changed"),
        ("a/PASSWORD", b"x" * 65537, "a/PASSWORD must not have more than 65,536 bytes; nothing was changed"),
        ("a/PASWORD", b"hunter2", "no secret is called 'a/PASWORD', did you mean 'a/PASSWORD'?"),
        ("A B", b"hunter2", "no secret is called 'A B'; known: "),
        ("mail/PRINTED", b"hunter2", "mail/PRINTED comes from a command and is not in the store"),
        ("postgres/rewinder", b"hunter2", "postgres/rewinder must have 20 to 128 characters"),
    ],
)
def test_an_invalid_value_is_refused_with_a_clear_message(folder: Path, name: str, given: bytes, reported: str) -> None:
    ran = piped(folder, name, given)
    assert ran.returncode == 1
    assert ran.stderr.decode().startswith(reported)
    assert b"hunter2" not in ran.stdout + ran.stderr
    assert value_of(folder, name) is None


@pytest.mark.parametrize("words", [("a/PASSWORD", "hunter2"), ("--inventory", "hosts.yaml", "a/PASSWORD", "hunter2")])
def test_a_value_on_the_command_line_is_refused_and_not_echoed(folder: Path, words: tuple[str, ...]) -> None:
    ran = inv(folder, "secrets.set", *words)
    assert ran.returncode == 1
    assert ran.stderr.startswith("a value is not taken from the command line, where the shell's history")
    assert "hunter2" not in ran.stdout + ran.stderr
    assert value_of(folder, "a/PASSWORD") is None


def test_a_terminal_asks_for_the_value_twice_without_echo(folder: Path) -> None:
    code, seen = typed(folder, "a/PASSWORD", "hunter2\n", "hunter2\n")
    assert (code, "hunter2" in seen) == (0, False)
    assert "a/PASSWORD is set" in seen
    assert value_of(folder, "a/PASSWORD") == "hunter2"


@pytest.mark.parametrize(
    ("answers", "reported"),
    [
        (("hunter2\n", "hunter3\n"), "the two values differ; nothing was changed"),
        (("\x04",), "no value was typed; nothing was changed"),
        (("x" * 1001 + "\n",), "a terminal may cut off a value this long; pipe it: inv secrets.set a/TOKEN <FILE"),
    ],
)
def test_a_mistyped_value_is_not_saved(folder: Path, answers: tuple[str, ...], reported: str) -> None:
    code, seen = typed(folder, "a/TOKEN", *answers)
    assert code == 1
    assert reported in seen
    assert value_of(folder, "a/TOKEN") is None


def test_once_all_secrets_are_set_a_plan_runs_the_command_of_a_secret_once(folder: Path) -> None:
    for name in ("a/PASSWORD", "a/TOKEN", "b/PASSWORD", "b/TOKEN"):
        assert piped(folder, name, b"hunter2").returncode == 0
    assert "is not up" in inv(folder, "plan").stderr
    assert (folder / "ran").read_text(encoding="ascii") == "ran\n"


def test_a_failing_command_is_reported_with_its_stderr_but_not_its_output(tmp_path: Path) -> None:
    folder = write(tmp_path, "echo hunter2; echo locked >&2; false")
    (folder / "hosts.yaml").write_text(TEXT.replace(", roles: [mail]", "", 1), encoding="utf-8")
    for name in ("b/PASSWORD", "b/TOKEN"):
        assert piped(folder, name, b"x").returncode == 0
    ran = inv(folder, "plan")
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == ["mail/PRINTED: its command failed (exit code 1)", "    locked"]
    assert ran.stdout == ""


def test_the_list_shows_the_origin_of_each_value_and_whether_it_is_set(folder: Path) -> None:
    piped(folder, "a/PASSWORD", b"hunter2")
    ran = inv(folder, "secrets.list")
    assert "hunter2" not in ran.stdout
    lines = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    assert "a/PASSWORD given 0 s ago set mail (a b)" in [re.sub(r"[0-9]+ s ago", "0 s ago", line) for line in lines]
    assert "a/TOKEN given not set: inv secrets.set a/TOKEN mail (a b)" in lines
    assert "mail/PRINTED command echo ran >>ran; echo printed mail (a b)" in lines
    assert not (folder / "ran").exists()
    rows = {row["name"]: row for row in json.loads(inv(folder, "secrets.list", "--json").stdout)}
    assert rows["a/TOKEN"]["kind"] == "given"


def test_a_secret_that_was_unset_is_reported_again(folder: Path) -> None:
    piped(folder, "a/PASSWORD", b"hunter2")
    assert inv(folder, "secrets.unset", "a/PASSWORD").returncode == 0
    assert value_of(folder, "a/PASSWORD") is None
    assert inv(folder, "plan").stderr.splitlines() == UNSET


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("a/TOKEN", "a/TOKEN is not set"),
        ("mail/PRINTED", "mail/PRINTED comes from a command and is not in the store"),
        ("postgres/rewinder", "postgres/rewinder is generated; for a new value: inv secrets.rotate postgres/rewinder"),
        ("a/TOKN", "no secret is called 'a/TOKN', did you mean 'a/TOKEN'?"),
    ],
)
def test_only_a_secret_that_was_set_can_be_unset(folder: Path, name: str, reported: str) -> None:
    assert inv(folder, "secrets.unset", name).stderr == f"{reported}\n"


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("a/TOKEN", "a/TOKEN is not generated; set its new value: inv secrets.set a/TOKEN"),
        ("mail/PRINTED", "mail/PRINTED comes from a command and is not in the store; replace it at"),
    ],
)
def test_only_a_generated_secret_is_rotated(folder: Path, name: str, reported: str) -> None:
    piped(folder, "a/TOKEN", b"hunter2")
    assert inv(folder, "secrets.rotate", name).stderr.startswith(reported)


def test_a_generated_secret_can_be_imported_and_replaced_by_its_strategy(folder: Path) -> None:
    first, second = b"a-value-of-another-tool", b"another-value-of-that-tool"
    assert b"to deploy: inv deploy\n" in piped(folder, "postgres/app", first).stdout
    assert value_of(folder, "postgres/app") == first.decode()
    assert b"to deploy: inv secrets.rotate postgres/app\n" in piped(folder, "postgres/app", second).stdout
    ran = piped(folder, "postgres/app", first)
    assert ran.stderr == b"postgres/app is being rotated; finish that first: inv secrets.rotate postgres/app\n"


def test_a_new_value_of_a_given_secret_follows_its_strategy(folder: Path) -> None:
    path = folder / "roles/mail.py"
    text = path.read_text(encoding="utf-8").replace('TOKEN", origin', 'TOKEN", "overlap", origin')
    path.write_text(text, encoding="utf-8")
    for name in ("a/PASSWORD", "b/PASSWORD", "b/TOKEN"):
        piped(folder, name, b"hunter2")
    assert b"to deploy: inv deploy\n" in piped(folder, "a/TOKEN", b"first").stdout
    assert b"to deploy: inv secrets.rotate a/TOKEN\n" in piped(folder, "a/TOKEN", b"second").stdout
    assert value_of(folder, "a/TOKEN") == "first"
    ran = inv(folder, "secrets.rotate", "a/TOKEN")
    assert "continuing the unfinished rotation of a/TOKEN\n" in ran.stdout
    assert "is not up" in ran.stderr
