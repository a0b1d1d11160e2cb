"""Secrets that a person sets or a command prints: what a run asks for before it does anything, and what it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.test_streams import ROOT
from tests.waiting import PATIENCE

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
  b: {address: 10.0.0.1, roles: [mail]}
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
    line = [str(Path(sys.executable).with_name("inv")), *words, f"--inventory={folder / 'hosts.yaml'}"]
    ran = subprocess.run(
        line, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "Traceback" not in ran.stderr
    return ran


@pytest.mark.parametrize("words", [("plan",), ("deploy",), ("plan", "--role=mail"), ("deploy", "--host=a,b,c")])
def test_all_secrets_that_are_not_set_are_named_with_the_command_to_type(folder: Path, words: tuple[str, ...]) -> None:
    ran = inv(folder, *words)
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == UNSET
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("command", ["plan", "deploy"])
def test_a_program_reads_the_same(folder: Path, command: str) -> None:
    ran = inv(folder, command, "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout) == {"error": "\n".join(UNSET)}


def test_only_the_secrets_of_the_chosen_hosts_are_asked_for(folder: Path) -> None:
    ran = inv(folder, "plan", "--host=c")
    # The lab does not run: it went on to the host.
    assert "is not up" in ran.stderr
    assert "is not set" not in ran.stderr
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("words", [("status",), ("drift",)])
def test_a_command_that_only_looks_needs_no_value(folder: Path, words: tuple[str, ...]) -> None:
    ran = inv(folder, *words)
    assert "is not up" in ran.stdout + ran.stderr
    assert not (folder / "ran").exists()
