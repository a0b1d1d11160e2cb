"""An operator with a home directory, a stack of one host, and what the log of a server says."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from plainstack.errors import PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.ssh import connections
from plainstack.ssh.connections import Sessions
from tests import inventories, sshd
from tests.sshd import Server
from tests.waiting import PATIENCE

ME = getpass.getuser()


@dataclass
class Operator:
    """An operator's home directory, with a key that all servers accept, and a stack whose only host is `host`."""

    home: Path
    host: Server
    other: Server
    far: Server

    def config(self, text: str) -> None:
        """Write ~/.ssh/config, with two more servers in it as `other` and `far`."""
        for name, server in (("other", self.other), ("far", self.far)):
            text += f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  User {ME}\n"
        (self.home / ".ssh/config").write_text(text, encoding="utf-8")

    def stack(self, ssh_lines: str = "", pins: str | None = None) -> Stack:
        """Return a stack whose inventory names no key and, except in `ssh_lines`, no gateway."""
        login = f"user: {ME}, port: {self.host.port}, connect_timeout: {PATIENCE}{ssh_lines}"
        text = f"stack: test\nssh: {{{login}}}\nhosts:\n  db1: {{address: 10.0.0.11}}\n"
        stack = sshd.at(inventories.parse(text, "hosts.yaml", self.home), {"db1": IPv4Address("127.0.0.1")})
        connections.known_hosts(stack).parent.mkdir(parents=True, exist_ok=True)
        connections.known_hosts(stack).write_text(self.host.pin if pins is None else pins, encoding="utf-8")
        return stack

    def says(self, stack: Stack) -> str:
        """Return the host's answer over a new connection."""
        with Sessions(stack) as sessions:
            return sessions.to("db1").run("echo hello; echo $SSH_AUTH_SOCK").out.strip()

    def failure(self, stack: Stack) -> str:
        """Return why the host cannot be reached."""
        with Sessions(stack) as sessions, pytest.raises(PlainstackError) as caught:
            sessions.to("db1")
        return str(caught.value)


class Watched:
    """A server's log from now on."""

    def __init__(self, server: Server) -> None:
        self._server, self._begin = server, len(server.log())

    @property
    def connected(self) -> bool:
        """Whether an SSH client has connected; a probe of the port, perhaps by an earlier test, does not count."""
        return "Remote protocol version" in self._server.log()[self._begin :]

    @property
    def asked_to_log_in(self) -> bool:
        return "userauth-request" in self._server.log()[self._begin :]

    @property
    def logged_in(self) -> bool:
        return "Accepted publickey" in self._server.log()[self._begin :]
