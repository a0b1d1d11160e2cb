"""The one module that talks to hosts: host keys, gateways, sudo, exec with input, and fan-out over Fabric."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import paramiko
from fabric import Config, Connection

from plainstack.errors import HostFailed, InventoryError, PlainstackError, Refused
from plainstack.stack import Host, Stack

Result = TypeVar("Result")

# Unacknowledged data for this long means that the host or the way to it is gone (ms, see tcp(7) TCP_USER_TIMEOUT).
DEAD_AFTER = 15_000
KEEPALIVE = 5
# A silent exec is asked after this many seconds whether its host is still there, and has that many to answer.
ASK_AFTER = 8
PATIENCE = 10


@dataclass(frozen=True)
class Output:
    """What one exec gave: its exit code and its two streams."""

    code: int
    out: str
    err: str


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


class Session:
    """One open connection to one host; several execs may run in it at once."""

    def __init__(self, host: str, connection: Connection, sudo: bool) -> None:
        self.host = host
        self._connection = connection
        self._sudo = sudo

    def run(
        self,
        command: str,
        *,
        stdin: bytes = b"",
        hold_stdin: bool = False,
        on_line: Callable[[str], None] | None = None,
        timeout: float = 60,
        step: str = "",
    ) -> Output:
        """Run a command as root; its input is `stdin`, kept open after that with `hold_stdin`.

        `on_line` gets every line of output as it comes. Raises HostFailed when the connection dies or after `timeout`
        seconds.
        """
        try:
            channel = self._open(command)
            try:
                # Beside the reading: what answers before it has read everything would wait for us, and we for it.
                threading.Thread(target=_send, args=(channel, stdin, hold_stdin), daemon=True).start()
                return self._read(channel, on_line, time.monotonic() + timeout, step)
            finally:
                channel.close()
        except (OSError, EOFError, paramiko.SSHException) as error:
            reason = "the connection was lost" if not str(error) else f"the connection was lost: {error}"
            raise HostFailed(self.host, step, reason) from None

    def _open(self, command: str) -> paramiko.Channel:
        transport = self._connection.transport
        if transport is None or not transport.is_active():
            raise OSError("it was closed")
        channel: paramiko.Channel = transport.open_session(timeout=20)
        channel.exec_command(f"sudo -n -- {command}" if self._sudo else command)
        return channel

    def _read(
        self, channel: paramiko.Channel, on_line: Callable[[str], None] | None, deadline: float, step: str
    ) -> Output:
        channel.settimeout(min(1.0, max(0.1, deadline - time.monotonic())))
        out, err = bytearray(), bytearray()
        told = 0
        heard = time.monotonic()
        while time.monotonic() < deadline:
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(65536)
            try:
                data = channel.recv(65536)
            except TimeoutError:
                heard = _still_there(channel.get_transport(), heard)
                continue
            if not data:
                break
            heard = time.monotonic()
            out += data
            if on_line:
                end = out.rfind(b"\n") + 1
                for line in out[told:end].decode(errors="replace").splitlines():
                    on_line(line)
                told = max(told, end)
        while not channel.status_event.wait(channel.gettimeout()) and time.monotonic() < deadline:
            heard = _still_there(channel.get_transport(), heard)
        if not channel.exit_status_ready():
            raise HostFailed(self.host, step, "no end within the time-out", _tail(out))
        while data := channel.recv_stderr(65536):
            err += data
        code = channel.recv_exit_status()
        # Without an exit code either the connection died, which takes its thread a moment, or the program by a signal.
        if code == -1:
            channel.get_transport().join(1)
            if not channel.get_transport().is_active():
                raise OSError("it was closed from the other end")
        text = err.decode(errors="replace")
        if self._sudo and code != 0 and text.startswith("sudo:"):
            user = self._connection.user
            raise HostFailed(
                self.host, step, f"sudo refused: {text.strip()}; let {user} use sudo without a password (NOPASSWD)"
            )
        return Output(code, out.decode(errors="replace"), text)

    def script(self, text: str, *, timeout: float = 60, step: str = "") -> Output:
        """Run a sh script that travels on stdin, so that neither its length nor its words show on a command line."""
        return self.run("sh -c 'eval \"$(cat)\"'", stdin=text.encode(), timeout=timeout, step=step)

    def hold(self, command: str, *, stdin: bytes = b"") -> tuple[str, Callable[[], None]]:
        """Start a command that lives until the returned `release` is called; gives its first line of output."""
        try:
            channel = self._open(command)
            channel.sendall(stdin)
            channel.settimeout(30)
            line = bytearray()
            while not line.endswith(b"\n"):
                data = channel.recv(1)
                if not data:
                    break
                line += data
        except (OSError, paramiko.SSHException) as error:
            raise HostFailed(self.host, "take the lock", str(error)) from None
        return line.decode(errors="replace").strip(), channel.close

    def forward(self, address: str, port: int) -> paramiko.Channel:
        """A TCP stream from the host to an address it can reach."""
        transport: paramiko.Transport = self._connection.transport
        return transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=10)

    def close(self) -> None:
        """Close the connection; what still runs on the host sees the end of its input."""
        with contextlib.suppress(OSError, paramiko.SSHException):
            self._connection.close()


def _send(channel: paramiko.Channel, data: bytes, hold: bool) -> None:
    """Give a program its input; one that ends without reading all of it says why itself."""
    begin = 0
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        while begin < len(data):
            try:
                sent = channel.send(data[begin : begin + 65536])
            except TimeoutError:
                continue
            if sent == 0:
                return
            begin += sent
        if not hold:
            channel.shutdown_write()


def _still_there(transport: paramiko.Transport, heard: float) -> float:
    """When the host was last heard of; raises OSError when it does not answer any more."""
    if not transport.is_active():
        raise OSError("no answer to keepalives")
    if time.monotonic() - heard <= ASK_AFTER:
        return heard
    if not _answers(transport):
        raise OSError(f"no answer for {ASK_AFTER + PATIENCE} s")
    return time.monotonic()


def _answers(transport: paramiko.Transport) -> bool:
    """Whether the host's sshd still answers; behind a jump host our own TCP connection cannot tell."""
    answered = threading.Event()

    def ask() -> None:
        transport.global_request("alive@plainstack", wait=True)
        answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(PATIENCE) and transport.is_active()


def _tail(data: bytes | bytearray) -> list[str]:
    return bytes(data).decode(errors="replace").splitlines()[-10:]


class Sessions:
    """Connections to the hosts of a stack, opened on first use and kept; close with `with`."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._open: dict[str, Session] = {}
        self._locks = {name: threading.Lock() for name in stack.hosts}
        self._gateway_lock = threading.Lock()
        self._gateway: Connection | None = None
        self._config = Config(overrides={"load_ssh_configs": not stack.in_lab})
        self._config_lock = threading.Lock()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._open.values():
            session.close()
        if self._gateway is not None:
            self._gateway.close()

    def to(self, name: str) -> Session:
        """The session of a host, opened now if it is not. Raises HostFailed with what to do about it."""
        with self._locks[name]:
            if name not in self._open:
                self._open[name] = self.fresh(name)
            return self._open[name]

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
            transport.start_client(timeout=self.stack.ssh.connect_timeout)
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
        options: dict[str, object] = {"banner_timeout": 15, "auth_timeout": 15, "channel_timeout": 20}
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
                connect_timeout=ssh.connect_timeout,
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

            return _tuned(connect(f"plainstack-{self.stack.stack}", str(host.address), ssh.port, ssh.connect_timeout))
        if ssh.gateway is None:
            return _tuned(socket.create_connection((str(host.address), ssh.port), timeout=ssh.connect_timeout))
        with self._gateway_lock:
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
            raise Refused(f"gateway {gateway}: {explain(error, None, self.stack)}") from None
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
    if isinstance(error, TimeoutError):
        return f"no answer within {stack.ssh.connect_timeout} s{inventory}"
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


def quote(*words: str) -> str:
    """Words as one shell command."""
    return shlex.join(words)
