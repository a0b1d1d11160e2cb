"""Opens connections to hosts: checks host keys, goes through jump hosts, and connects to all hosts at once."""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import paramiko
from fabric import Config, Connection

from plainstack.errors import HostFailed
from plainstack.ssh.connect_errors import BROKEN, HANDSHAKE_WITHIN, explain
from plainstack.ssh.jumps import Jumps, through_command
from plainstack.ssh.known_hosts import Pins, entry_name
from plainstack.ssh.login_keys import Keyring
from plainstack.ssh.reach import Reach
from plainstack.ssh.session import Session
from plainstack.ssh.ways import Way, Ways

Result = TypeVar("Result")

# Data unacknowledged for this long means that the host or the network is down (ms, see TCP_USER_TIMEOUT in tcp(7)).
DEAD_AFTER = 15_000
KEEPALIVE = 5

# Paramiko logs every failed handshake with a traceback, which goes to stderr without a handler; we show our own
# message.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def known_hosts(stack: Reach) -> Path:
    """Return the path of the file of pinned host keys; lab hosts have a file of their own."""
    return stack.state / ("lab/known_hosts" if stack.in_lab else "known_hosts")


class Sessions:
    """Connections to the hosts of a stack, opened on first use and kept open until the end of a `with` statement."""

    def __init__(self, stack: Reach) -> None:
        self.stack = stack
        # Notes on the operator's SSH configuration; other threads append to it while they connect.
        self.notes: list[str] = []
        self.ways = Ways(stack, self.notes.append)
        self._keyring = Keyring(lambda: self._closed)
        self._open: dict[str, Session] = {}
        self._closed = False
        self._locks = {name: threading.Lock() for name in stack.hosts}
        self._jumps = Jumps(self._connect, stack)
        self._commands: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        # Other threads may still be connecting; they see `_closed` and close their own connections.
        for session in list(self._open.values()):
            session.close()
        self._jumps.close()
        for command in self._commands:
            command.terminate()

    def to(self, name: str) -> Session:
        """Return the session of a host, opened on first use. Raises HostFailed if the host cannot be reached."""
        with self._locks[name]:
            if name not in self._open:
                self._open[name] = self.fresh(name)
                if self._closed:
                    self._open[name].close()
            return self._open[name]

    def living(self, name: str) -> Session:
        """Return the session of a host, like `to`, but replace it if its connection has ended.

        Use it only for commands that run for hours, such as tunnels; all others must fail when a connection is lost.
        """
        self._jumps.renew()
        with self._locks[name]:
            kept = self._open.get(name)
            if kept is not None and not kept.alive:
                del self._open[name]
        return self.to(name)

    def fresh(self, name: str) -> Session:
        """Open a new connection to a host, even if one is open: this proves that new logins work. Raises HostFailed."""
        way = self.ways.to(self.stack.hosts[name])
        try:
            connection = self._connect(way)
        except BROKEN as error:
            raise HostFailed(name, "connect", explain(error, way, self.stack)) from None
        return Session(name, connection, sudo=self.stack.ssh.user != "root")

    def host_key(self, name: str) -> paramiko.PKey:
        """Return the host key that a host of the stack offers now. Raises HostFailed."""
        return self.offered_key(self.ways.to(self.stack.hosts[name]))

    def offered_key(self, way: Way) -> paramiko.PKey:
        """Return the host key that a machine offers now, without logging in to it. Raises HostFailed."""
        pinned = Pins.read(known_hosts(self.stack)).keys(entry_name(way.address, way.port))
        try:
            transport = paramiko.Transport(self._socket(way))
            try:
                options = transport.get_security_options()
                # Prefer the key type that a connection would use: the pinned one, otherwise ed25519, which Debian has.
                first = ["rsa-sha2-512" if kind == "ssh-rsa" else kind for kind in pinned][:1]
                usual = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"]
                options.key_types = tuple(dict.fromkeys([*first, *usual]))
                transport.start_client(timeout=HANDSHAKE_WITHIN)
                return transport.get_remote_server_key()
            finally:
                transport.close()
        except BROKEN as error:
            raise HostFailed(way.name, "connect", explain(error, way, self.stack)) from None

    def forget(self, name: str) -> None:
        """Close the session of a host, if there is one; the next use opens a new one."""
        with self._locks[name]:
            session = self._open.pop(name, None)
        if session:
            session.close()

    def _connect(self, way: Way) -> Connection:
        """Log in to a machine whose key is pinned."""
        options: dict[str, object] = {
            "sock": self._socket(way),
            "auth_strategy": _LogIn(self._keyring, way),
            "banner_timeout": HANDSHAKE_WITHIN,
            "auth_timeout": HANDSHAKE_WITHIN,
            "channel_timeout": 20,
        }
        # Fabric would read its own files and ~/.ssh/config, and could add a gateway, which accepts any host key. An
        # empty configuration and gateway=False leave our socket as the only way to connect.
        connection = Connection(
            way.address,
            user=way.user,
            port=way.port,
            config=Config(lazy=True, ssh_config=paramiko.SSHConfig()),
            gateway=False,
            forward_agent=False,
            connect_kwargs=options,
            # The socket is already connected; paramiko uses this timeout for the key exchange.
            connect_timeout=HANDSHAKE_WITHIN,
        )
        entry = entry_name(way.address, way.port)
        pins = connection.client.get_host_keys()
        for kind, key in Pins.read(known_hosts(self.stack)).keys(entry).items():
            pins.add(way.address if way.port == 22 else f"[{way.address}]:{way.port}", kind, key)
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        connection.open()
        connection.transport.set_keepalive(KEEPALIVE)
        return connection

    def _socket(self, way: Way) -> socket.socket | paramiko.Channel:
        there, patience = (way.address, way.port), self.stack.ssh.connect_timeout
        if self.stack.in_lab:
            from plainstack.ssh.lab_owner import check_lab_of
            from plainstack.ssh.netns import connect

            # A copy of an inventory has the addresses of another one's hosts, and must not pin or change those.
            check_lab_of(self.stack)
            return _tuned(connect(f"plainstack-{self.stack.lab_name}", *there, patience))
        if way.jump is not None:
            transport = self._jumps.to(way.jump)
            return transport.open_channel("direct-tcpip", there, ("127.0.0.1", 0), timeout=patience)
        if way.command:
            ours, process = through_command(way.command)
            self._commands.append(process)
            return ours
        return _tuned(socket.create_connection(there, patience, (way.bind, 0) if way.bind else None))


class _LogIn:
    """The authentication strategy: paramiko's client calls it after checking the host key."""

    def __init__(self, keyring: Keyring, way: Way) -> None:
        self._keyring, self._way = keyring, way

    def authenticate(self, transport: paramiko.Transport) -> None:
        self._keyring.log_in(transport, self._way.user, self._way.identities)


def _tuned(sock: socket.socket) -> socket.socket:
    """Detect dead connections, and disable Nagle's algorithm, which would delay every exec by about 40 ms."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER)
    return sock


def fan_out(names: Iterable[str], work: Callable[[str], Result]) -> Mapping[str, Result | HostFailed]:
    """Run `work` for all hosts in parallel and return the results by host; a failed host's result is its HostFailed."""

    def one(name: str) -> Result | HostFailed:
        try:
            return work(name)
        except HostFailed as error:
            return error

    ordered = list(names)
    with ThreadPoolExecutor(max_workers=max(1, min(64, len(ordered)))) as pool:
        return dict(zip(ordered, pool.map(one, ordered), strict=True))
