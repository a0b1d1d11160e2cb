"""Logging in with keys, against a real sshd and a real agent: which keys are offered, in which order."""

from __future__ import annotations

import getpass
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.ssh import connections, key_files, login_keys
from plainstack.ssh.connections import Sessions
from plainstack.ssh.key_files import public_blob
from tests import inventories, sshd
from tests.sshd import Server, add_to_agent, make_key

pytestmark = [pytest.mark.programs, sshd.needed]
ME = getpass.getuser()
KINDS = [("ed25519",), ("ecdsa",), ("rsa", "-b", "1024")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder without keys; there is no agent."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


@pytest.fixture
def agent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an agent without keys."""
    with sshd.agent(home / "agent") as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield


def locked(server: Server, path: Path) -> Path:
    """Copy the operator's key, with the passphrase `secret` and without its public half next to it."""
    shutil.copy(server.folder / "operator", path)
    subprocess.run(["ssh-keygen", "-q", "-a", "1", "-p", "-P", "", "-N", "secret", "-f", str(path)], check=True)
    return path


def stack_of(server: Server, home: Path, key: Path | None = None, hosts: int = 1) -> Stack:
    login = f"user: {ME}, port: {server.port}" + (f", key: {key}" if key else "")
    stack = inventories.parse(f"stack: test\nssh: {{{login}}}\nhosts:\n  db1: {{address: 10.0.0.1}}\n", "h.yaml", home)
    one = sshd.at(stack, {"db1": IPv4Address("127.0.0.1")}).hosts["db1"]
    # All hosts are the same server.
    several = {f"db{number}": one.model_copy(update={"name": f"db{number}"}) for number in range(1, hosts + 1)}
    stack = stack.model_copy(update={"hosts": several})
    stack.state.mkdir(parents=True, exist_ok=True)
    connections.known_hosts(stack).write_text(server.pin, encoding="utf-8")
    return stack


def failure(stack: Stack) -> str:
    with Sessions(stack) as sessions, pytest.raises(HostFailed) as caught:
        sessions.to("db1")
    return caught.value.reason


def logs_in(stack: Stack) -> bool:
    with Sessions(stack) as sessions:
        return sessions.to("db1").run("true").code == 0


def test_a_key_in_the_home_folder_is_used_without_any_setting(server: Server, home: Path) -> None:
    shutil.copy(server.folder / "operator", home / ".ssh/id_ed25519")
    assert logs_in(stack_of(server, home))


@pytest.mark.parametrize("given", [True, False], ids=["ssh.key", "home"])
def test_a_passphrase_that_cannot_be_prompted_for_is_reported_with_the_file(
    server: Server, home: Path, given: bool
) -> None:
    path = locked(server, home / ".ssh/id_ed25519")
    place = f"(127.0.0.1:{server.port})"
    assert failure(stack_of(server, home, path if given else None)) == (
        f"{path} has a passphrase, but there is no terminal to ask for it. Add the key to the agent: ssh-add"
        f" {path} {place}"
    )


def test_having_no_key_at_all_is_reported(server: Server, home: Path) -> None:
    assert failure(stack_of(server, home)).startswith(
        f"there is no key to log in with as {ME}. Add one to the agent (ssh-add), or set"
    )


@pytest.mark.parametrize("given", [True, False], ids=["ssh.key", "home"])
def test_a_passphrase_is_prompted_for_once_for_all_hosts(
    server: Server, home: Path, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = locked(server, home / ".ssh/id_ed25519")
    answers = ["wrong", "secret"]
    asked: list[str] = []

    def ask(question: str, _: object) -> str:
        asked.append(question)
        return answers[len(asked) - 1]

    monkeypatch.setattr(login_keys, "ask", ask)
    stack = stack_of(server, home, path if given else None, hosts=4)
    with Sessions(stack) as sessions:
        done = connections.fan_out(stack.hosts, lambda name: sessions.to(name).run("echo in").out)
    assert set(done.values()) == {"in\n"}
    assert asked == [f"Passphrase of {path}: "] * 2


def test_no_passphrase_is_prompted_for_if_another_key_works(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked(server, home / ".ssh/id_rsa")
    shutil.copy(server.folder / "operator", home / ".ssh/id_ed25519")
    monkeypatch.setattr(login_keys, "ask", lambda *_: pytest.fail("asked"))
    assert logs_in(stack_of(server, home))


@pytest.mark.parametrize("given", [True, False], ids=["ssh.key", "home"])
@pytest.mark.usefixtures("agent")
def test_a_key_in_the_agent_needs_no_passphrase(server: Server, home: Path, given: bool) -> None:
    path = locked(server, home / ".ssh/id_ed25519")
    add_to_agent(server.folder / "operator")
    assert logs_in(stack_of(server, home, path if given else None))


@pytest.mark.usefixtures("agent")
def test_only_the_key_in_the_inventory_is_offered_however_many_the_agent_has(server: Server, home: Path) -> None:
    for number in range(8):
        make_key(home / f"key{number}")
        add_to_agent(home / f"key{number}")
    reported = failure(stack_of(server, home))
    assert reported.startswith(
        f"the host closed the connection after 6 keys for {ME}; set ssh.key in the inventory to the right one"
    )
    assert logs_in(stack_of(server, home, server.folder / "operator"))


@pytest.mark.usefixtures("agent")
def test_the_agents_key_that_belongs_to_an_identity_file_is_offered_first(server: Server, home: Path) -> None:
    for number in range(8):
        make_key(home / f"key{number}")
        add_to_agent(home / f"key{number}")
    add_to_agent(server.folder / "operator")
    # Only the agent has the private half of this key.
    shutil.copy(server.folder / "operator.pub", home / ".ssh/id_ed25519.pub")
    (home / ".ssh/config").write_text("IdentityFile ~/.ssh/id_ed25519.pub\n", encoding="utf-8")
    assert logs_in(stack_of(server, home))


def test_all_refused_and_unusable_keys_are_named(server: Server, home: Path) -> None:
    for name in ("id_rsa", "id_ecdsa"):
        make_key(home / ".ssh" / name)
    (home / ".ssh/id_ed25519").write_text("no key\n", encoding="utf-8")
    folder = home / ".ssh"
    assert failure(stack_of(server, home)) == (
        f"login as {ME} was refused with {folder}/id_rsa and {folder}/id_ecdsa;"
        f" {folder}/id_ed25519 is not a private key in a supported format (127.0.0.1:{server.port})"
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
@pytest.mark.parametrize("form", ["RFC4716", "PEM"])
def test_keys_of_every_type_and_format_can_be_read_with_and_without_a_passphrase(
    tmp_path: Path, kind: tuple[str, ...], form: str
) -> None:
    path = tmp_path / "key"
    for passphrase in ("", "secret"):
        path.unlink(missing_ok=True)
        line = ["ssh-keygen", "-q", "-a", "1", "-t", *kind, "-m", form, "-N", passphrase, "-f", str(path)]
        subprocess.run(line, check=True)
        public = path.with_suffix(".pub")
        blob = public_blob(path)
        public.unlink()
        key = key_files.load(path, passphrase or None)
        assert getattr(key, "asbytes", bytes)() == blob
        if passphrase:
            assert key_files.load(path, None) is None
            assert key_files.load(path, "wrong") is None


@pytest.mark.parametrize("named", [True, False], ids=["CertificateFile", "beside the key"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
def test_a_certificate_is_offered_with_its_key(
    home: Path, kind: tuple[str, ...], named: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sshd")
    make_key(folder / "authority")
    key = home / f".ssh/id_{kind[0]}"
    subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-N", "", "-f", str(key)], check=True)
    signing = ["ssh-keygen", "-q", "-s", str(folder / "authority"), "-I", "me", "-n", ME, f"{key}.pub"]
    subprocess.run(signing, check=True, capture_output=True)
    if named:
        Path(f"{key}-cert.pub").rename(home / "certificate")
        (home / ".ssh/config").write_text("CertificateFile ~/certificate\n", encoding="utf-8")
    with sshd.serving(folder, f"TrustedUserCAKeys {folder}/authority.pub") as server:
        assert logs_in(stack_of(server, home))


def test_a_passphrase_is_read_from_the_terminal_without_echo() -> None:
    """The test asks in a process of its own, on a terminal of its own."""
    program = "from plainstack.ssh.passphrase import ask; print(repr(ask('Passphrase? ', lambda: False)))"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    seen = b""
    while b"Passphrase? " not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"sesame\n")
    while b"'sesame'" not in seen:
        seen += os.read(terminal, 1000)
    os.waitpid(child, 0)
    os.close(terminal)
    assert seen.split() == [b"Passphrase?", b"'sesame'"]


def test_a_prompt_ends_when_the_run_ends() -> None:
    program = "import plainstack.ssh.passphrase as p; print(p.ask('Passphrase? ', lambda: True))"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    seen = b""
    while b"None" not in seen:
        seen += os.read(terminal, 1000)
    os.waitpid(child, 0)
    os.close(terminal)
