"""A real sshd on loopback, on a free port, with a host key and an operator's key of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from plainstack.ssh import connections
from tests import inventories
from tests.ports import free_port
from tests.waiting import PATIENCE, until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")
needed = pytest.mark.skipif(SSHD is None, reason="needs openssh-server: make unit installs it")


@dataclass
class Server:
    """An sshd started for a test; `folder` holds its host key and the operator's files."""

    folder: Path
    port: int

    @property
    def pin(self) -> str:
        """The known_hosts line with this server's real host key."""
        kind, key = (self.folder / "host.pub").read_text(encoding="utf-8").split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def stack(
        self,
        folder: Path,
        *,
        port: int | None = None,
        key: str = "operator",
        pin: str | None = None,
        connect_timeout: int = PATIENCE,
    ) -> Stack:
        """Return a stack whose only host is this server."""
        login = f"user: {getpass.getuser()}, port: {port or self.port}, key: {self.folder / key}"
        login += f", connect_timeout: {connect_timeout}"
        text = f"stack: test\nssh: {{{login}}}\nhosts:\n  db1: {{address: 10.0.0.1}}\n"
        stack = inventories.parse(text, "test.yaml", folder)
        stack = at(stack, {"db1": IPv4Address("127.0.0.1")})
        stack.state.mkdir(parents=True, exist_ok=True)
        connections.known_hosts(stack).write_text(self.pin if pin is None else pin, encoding="utf-8")
        return stack


def at(stack: Stack, addresses: Mapping[str, IPv4Address]) -> Stack:
    """Return the stack with its hosts at these addresses; an inventory would refuse loopback addresses."""
    hosts = {name: stack.hosts[name].model_copy(update={"address": address}) for name, address in addresses.items()}
    return stack.model_copy(update={"hosts": hosts})


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextlib.contextmanager
def agent(socket_path: Path) -> Iterator[Path]:
    """Run a real ssh-agent without keys at this socket."""
    running = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL)
    try:
        until(lambda: _answers(socket_path), "ssh-agent did not start")
        yield socket_path
    finally:
        running.terminate()
        running.wait()


def add_to_agent(*keys: Path) -> None:
    """Add keys to the agent that SSH_AUTH_SOCK names."""
    for key in keys:
        subprocess.run(["ssh-add", "-q", str(key)], check=True, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def serving(folder: Path, *settings: str) -> Iterator[Server]:
    """Run an sshd; `settings` are additional lines of its configuration."""
    for name in ("host", "operator", "stranger"):
        make_key(folder / name)
    port = free_port()
    (folder / "bin").mkdir()
    (folder / "bin/sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n", encoding="utf-8")
    (folder / "bin/sudo").chmod(0o755)
    more = "".join(f"{line}\n" for line in settings)
    (folder / "conf").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/operator.pub\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
        f"LogLevel DEBUG1\nSetEnv PATH={folder}/bin:/usr/bin:/bin HOME={folder}\n{more}",
        encoding="utf-8",
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD
    command = [SSHD, "-f", str(folder / "conf")]
    # From 9.8 on, OpenSSH refuses an address for a while after many failed logins.
    lenient = ["-o", "PerSourcePenalties=no"]
    if subprocess.run([*command, "-t", *lenient], capture_output=True, check=False).returncode == 0:
        command += lenient
    running = subprocess.Popen([*command, "-D", "-E", str(folder / "log")])
    try:
        until(lambda: _listens(port), "sshd did not start")
        yield Server(folder, port)
    finally:
        running.terminate()
        running.wait()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as attempt:
        return attempt.connect_ex(str(path)) == 0


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
