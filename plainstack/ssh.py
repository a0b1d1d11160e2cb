"""Opening connections to hosts: pinned host keys, gateways, errors in words, and all hosts at once."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import paramiko
from fabric import Config, Connection

from plainstack.errors import HostFailed, InventoryError, PlainstackError, Refused
from plainstack.session import Session
from plainstack.stack import Host, Stack

Result = TypeVar("Result")

# Unacknowledged data for this long means that the host or the way to it is gone (ms, see tcp(7) TCP_USER_TIMEOUT).
DEAD_AFTER = 15_000
KEEPALIVE = 5
# Banner, key exchange and log-in of a host that took the connection: many at once on a busy machine take a while.
HANDSHAKE_WITHIN = 15

# Paramiko logs every broken handshake with a traceback, which goes to stderr if nobody listens; we say it in words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def known_hosts(stack: Stack) -> Path:
    """The file of pinned host keys; the lab pins its own."""
    return stack.state / ("lab/known_hosts" if stack.in_lab else "known_hosts")


def operator_key(stack: Stack) -> Path | None:
    """The private key to log in with; None means what the agent and ~/.ssh offer. Raises InventoryError if missing."""
    if stack.ssh.key is not None:
        path = stack.file(stack.ssh.key.expanduser())
        if not path.is_file():
            raise InventoryError([f"ssh.key: no operator key at {path}; make one: ssh-keygen -t ed25519 -f {path}"])
        return path
    return stack.state / "lab" / "id_ed25519" if stack.in_lab else None


class Sessions:
    """Connections to the hosts of a stack, opened on first use and kept; close with `with`."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._open: dict[str, Session] = {}
        self._closed = False
        self._locks = {name: threading.Lock() for name in stack.hosts}
        self._gateway_lock = threading.Lock()
        self._gateway: Connection | None = None
        self._gateway_refused = ""
        self._config = Config(overrides={"load_ssh_configs": not stack.in_lab})
        self._config_lock = threading.Lock()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        # Others may still be opening theirs: what they add from now on they close.
        for session in list(self._open.values()):
            session.close()
        if self._gateway is not None:
            self._gateway.close()

    def to(self, name: str) -> Session:
        """The session of a host, opened now if it is not. Raises HostFailed with what to do about it."""
        with self._locks[name]:
            if name not in self._open:
                self._open[name] = self.fresh(name)
                if self._closed:
                    self._open[name].close()
            return self._open[name]

    def living(self, name: str) -> Session:
        """As `to`, for work of hours: a session that has ended meanwhile is replaced, which in a run would hide it."""
        with self._gateway_lock:
            self._gateway_refused = ""
            if self._gateway is not None and not self._gateway.transport.is_active():
                self._gateway = None
        with self._locks[name]:
            kept = self._open.get(name)
            if kept is not None and not kept.alive:
                del self._open[name]
        return self.to(name)

    def fresh(self, name: str) -> Session:
        """A new connection beside the kept one, for proving that new connections still work."""
        host = self.stack.hosts[name]
        connection = self._connect(host)
        return Session(name, connection, sudo=self.stack.ssh.user != "root")

    def host_key(self, name: str) -> paramiko.PKey:
        """The key a host offers now, without logging in; for pinning it."""
        host = self.stack.hosts[name]
        try:
            return self._offered_key(self._socket(host))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostFailed(name, "connect", explain(error, host, self.stack)) from None

    def gateway_key(self, gateway: str) -> tuple[str, int, paramiko.PKey]:
        """The address, port and offered key of a jump host; for pinning it."""
        connection = Connection(gateway, config=self._config)
        try:
            there = socket.create_connection((connection.host, connection.port), self.stack.ssh.connect_timeout)
            return connection.host, connection.port, self._offered_key(there)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostFailed(gateway, "connect", explain(error, None, self.stack)) from None

    def _offered_key(self, sock: socket.socket | paramiko.Channel) -> paramiko.PKey:
        transport = paramiko.Transport(sock)
        try:
            # An ed25519 key is what Debian's sshd has and what the pins are for.
            transport.get_security_options().key_types = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")
            transport.start_client(timeout=HANDSHAKE_WITHIN)
            return transport.get_remote_server_key()
        finally:
            transport.close()

    def forget(self, name: str) -> None:
        """Close the kept session of a host, so that the next use opens a new one."""
        with self._locks[name]:
            session = self._open.pop(name, None)
        if session:
            session.close()

    def _connect(self, host: Host) -> Connection:
        ssh = self.stack.ssh
        key = operator_key(self.stack)
        options: dict[str, object] = {
            "banner_timeout": HANDSHAKE_WITHIN,
            "auth_timeout": HANDSHAKE_WITHIN,
            "channel_timeout": 20,
        }
        if key is not None:
            options |= {"key_filename": str(key), "look_for_keys": False, "allow_agent": False}
        pins = known_hosts(self.stack)
        try:
            options["sock"] = self._socket(host)
            with self._config_lock:
                # Fabric's configuration is not made for threads.
                config = self._config.clone()
            connection = Connection(
                str(host.address),
                user=ssh.user,
                port=ssh.port,
                config=config,
                connect_kwargs=options,
                # The socket is connected already; paramiko takes this for the key exchange.
                connect_timeout=HANDSHAKE_WITHIN,
            )
            if pins.exists():
                connection.client.load_host_keys(str(pins))
            connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
            connection.open()
        except PlainstackError:
            raise
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostFailed(host.name, "connect", explain(error, host, self.stack)) from None
        connection.transport.set_keepalive(KEEPALIVE)
        return connection

    def _socket(self, host: Host) -> socket.socket | paramiko.Channel:
        ssh = self.stack.ssh
        if self.stack.in_lab:
            from plainstack.lab.netns import connect

            return _tuned(
                connect(f"plainstack-{self.stack.lab_name}", str(host.address), ssh.port, ssh.connect_timeout)
            )
        if ssh.gateway is None:
            return _tuned(socket.create_connection((str(host.address), ssh.port), timeout=ssh.connect_timeout))
        with self._gateway_lock:
            if self._gateway_refused:
                # Or every host would wait for the same time-out, one after another.
                raise Refused(self._gateway_refused)
            if self._gateway is None:
                self._gateway = self._jump(ssh.gateway)
        transport: paramiko.Transport = self._gateway.transport
        there = (str(host.address), ssh.port)
        return transport.open_channel("direct-tcpip", there, ("127.0.0.1", 0), timeout=ssh.connect_timeout)

    def _jump(self, gateway: str) -> Connection:
        key = operator_key(self.stack)
        options: dict[str, object] = {"key_filename": str(key)} if key else {}
        connection = Connection(gateway, config=self._config, connect_kwargs=options)
        try:
            options["sock"] = _tuned(
                socket.create_connection((connection.host, connection.port), timeout=self.stack.ssh.connect_timeout)
            )
            if known_hosts(self.stack).exists():
                connection.client.load_host_keys(str(known_hosts(self.stack)))
            connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
            connection.open()
        except (OSError, EOFError, paramiko.SSHException) as error:
            self._gateway_refused = f"gateway {gateway}: {explain(error, None, self.stack)}"
            raise Refused(self._gateway_refused) from None
        connection.transport.set_keepalive(KEEPALIVE)
        return connection


def _tuned(sock: socket.socket) -> socket.socket:
    """Without TCP_NODELAY every exec waits about 40 ms for a delayed acknowledgement."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER)
    return sock


def explain(error: BaseException, host: Host | None, stack: Stack) -> str:
    """A connection error in words: what is so, and what to do."""
    inventory = "" if host is None else f" ({host.address}:{stack.ssh.port})"
    if isinstance(error, paramiko.BadHostKeyException):
        return (
            f"the host key has CHANGED{inventory}: pinned {fingerprint(error.expected_key)},"
            f" offered {fingerprint(error.key)}; nothing was sent. If the host was reinstalled: inv trust"
        )
    if isinstance(error, paramiko.PasswordRequiredException):
        return f"{operator_key(stack)} has a passphrase: ssh-add it and remove ssh.key from the inventory{inventory}"
    if isinstance(error, paramiko.AuthenticationException):
        key = operator_key(stack)
        return f"log-in as {stack.ssh.user} was refused with {key or 'the keys of the agent and ~/.ssh'}{inventory}"
    if "not found in known_hosts" in str(error):
        return f"the host key is not pinned{inventory}: run inv trust, compare the fingerprint, and try again"
    if str(error) == "No existing session":
        return f"no SSH handshake within {HANDSHAKE_WITHIN} s{inventory}: is it an sshd, and is it overloaded?"
    if isinstance(error, TimeoutError):
        return f"no answer within {stack.ssh.connect_timeout} s{inventory}"
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no way to the host{inventory}: is it up, and on this network?"
    if isinstance(error, ConnectionRefusedError):
        return f"the connection was refused{inventory}; is sshd running?"
    return f"{error or type(error).__name__}{inventory}"


def fingerprint(key: paramiko.PKey) -> str:
    """A key's fingerprint as OpenSSH prints it."""
    return f"{key.get_name()} {key.fingerprint}"


def fan_out(names: Iterable[str], work: Callable[[str], Result]) -> Mapping[str, Result | HostFailed]:
    """Do `work` for every host at once; a host's failure is its result, and never loses the others'."""

    def one(name: str) -> Result | HostFailed:
        try:
            return work(name)
        except HostFailed as error:
            return error

    ordered = list(names)
    with ThreadPoolExecutor(max_workers=max(1, min(64, len(ordered)))) as pool:
        return dict(zip(ordered, pool.map(one, ordered), strict=True))
