"""One open connection to one host: execs, long-running commands, forwarded streams, detection of a dead host."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

import paramiko
from fabric import Connection

from plainstack.dataclass import dataclass
from plainstack.errors import HostFailed
from plainstack.ssh.alive import answers, still_there
from plainstack.ssh.exec_frame import Frame, Stream
from plainstack.ssh.held import Held

ANSWER_WITHIN = 20


@dataclass(frozen=True)
class Output:
    """The result of one exec: its exit code and its two streams."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Started:
    """A command that was started on a host, with its channel and its two output streams; see Frame."""

    host: str
    channel: paramiko.Channel
    out: Stream
    err: Stream
    frame: Frame


class Session:
    """One open connection to one host; several execs may run in it at once."""

    def __init__(self, host: str, connection: Connection, sudo: bool) -> None:
        self.host = host
        self._connection = connection
        self._frame = Frame(connection.user, connection.host, sudo)

    def run(
        self,
        command: str,
        *,
        stdin: bytes = b"",
        hold_stdin: bool = False,
        on_line: Callable[[str], None] | None = None,
        discard: bool = False,
        timeout: float = 60,
        step: str = "",
    ) -> Output:
        """Run a command as root with `stdin` as its input; with `hold_stdin`, its input then stays open.

        `on_line` is called with every line of output as it arrives; with `discard`, these lines are not in the result.
        Raises HostFailed if the connection fails, or after `timeout` seconds.
        """
        try:
            channel = self._open(command)
            try:
                # In a thread: a command that prints before it has read all its input would block, and so would we.
                threading.Thread(target=_send, args=(channel, stdin, hold_stdin), daemon=True).start()
                return self._read(channel, on_line, discard, time.monotonic() + timeout, step)
            finally:
                channel.close()
        except (OSError, EOFError, paramiko.SSHException) as error:
            reason = "the connection was lost" if not str(error) else f"the connection was lost: {error}"
            raise HostFailed(self.host, step, reason) from None

    def start(self, command: str, terminal: os.terminal_size | None = None) -> Started:
        """Start a command as root and leave its streams to the caller; an empty command means the login shell.

        With `terminal`, the command gets a terminal of this size. Raises HostFailed.
        """
        try:
            channel = self._open(command, terminal)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostFailed(self.host, "", f"the connection was lost: {error}") from None
        if not command:
            return Started(self.host, channel, Stream(), Stream(), self._frame)
        return Started(
            self.host, channel, self._frame.stream(terminal=bool(terminal)), self._frame.stream(), self._frame
        )

    def _open(self, command: str, terminal: os.terminal_size | None = None) -> paramiko.Channel:
        if not self.alive:
            raise OSError("it was closed")
        channel: paramiko.Channel = self._connection.transport.open_session(timeout=ANSWER_WITHIN)
        # Paramiko waits for the reply to an exec without a timeout; behind a jump host nothing else would end the wait.
        limit = threading.Timer(ANSWER_WITHIN, abandon, [channel])
        limit.start()
        try:
            if terminal:
                channel.get_pty(os.environ.get("TERM", "vt100"), terminal.columns, terminal.lines)
            if command:
                channel.exec_command(self._frame.wrap(command))
            elif terminal:
                channel.invoke_shell()
            else:
                # If a shell were requested, sshd would print the message of the day.
                channel.exec_command('exec "$SHELL" -l')
        finally:
            limit.cancel()
        return channel

    def _read(
        self,
        channel: paramiko.Channel,
        on_line: Callable[[str], None] | None,
        discard: bool,
        deadline: float,
        step: str,
    ) -> Output:
        channel.settimeout(min(1.0, max(0.1, deadline - time.monotonic())))
        out, err = self._frame.stream(), self._frame.stream()
        reported = 0
        heard = time.monotonic()
        while time.monotonic() < deadline:
            while channel.recv_stderr_ready():
                err.feed(channel.recv_stderr(65536))
            self._unless_impeded(out, err, step)
            try:
                data = channel.recv(65536)
            except TimeoutError:
                heard = still_there(channel.get_transport(), heard)
                continue
            if not data:
                break
            heard = time.monotonic()
            out.feed(data)
            if on_line:
                end = out.data.rfind(b"\n") + 1
                # Not splitlines(): text may contain other separators.
                for line in out.data[reported:end].decode(errors="replace").split("\n")[:-1]:
                    on_line(line)
                reported = max(reported, end)
                if discard:
                    del out.data[:reported]
                    reported = 0
        while not channel.status_event.wait(channel.gettimeout()) and time.monotonic() < deadline:
            heard = still_there(channel.get_transport(), heard)
        if not channel.exit_status_ready():
            if out.begun:
                raise HostFailed(
                    self.host, step, "the command did not finish within the timeout", out.text.splitlines()[-10:]
                )
            waits = "the login shell did not start the command within the timeout: do its startup files wait for input?"
            raise HostFailed(self.host, step, waits, out.noise.splitlines()[-10:])
        while data := channel.recv_stderr(65536):
            err.feed(data)
        code = channel.recv_exit_status()
        # Without an exit code, either a signal ended the program or the connection was lost; a host that answers rules
        # out the latter.
        if code == -1 and not answers(channel.get_transport()):
            raise OSError("it was closed by the other side")
        if not out.begun:
            raise HostFailed(self.host, step, *self._frame.refusal(out, err, code))
        return Output(code, out.text, err.text)

    def _unless_impeded(self, out: Stream, err: Stream, step: str) -> None:
        """Raise HostFailed once it is clear that the command will never begin: some hosts print the reason and hang."""
        if reason := self._frame.impediment(out, err):
            raise HostFailed(self.host, step, reason)

    def script(
        self, text: str, *, timeout: float = 60, step: str = "", on_line: Callable[[str], None] | None = None
    ) -> Output:
        """Run a sh script passed on stdin, so that neither its length nor its content appears in a command line."""
        return self.run('eval "$(cat)"', stdin=text.encode(), timeout=timeout, step=step, on_line=on_line)

    def hold(self, command: str, *, step: str = "take the lock") -> Held:
        """Start a command that runs until it is released; raises HostFailed if it cannot be started."""
        try:
            return Held(self.host, step, self._open(command), self._frame)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostFailed(self.host, step, str(error)) from None

    @property
    def alive(self) -> bool:
        """Whether the connection is still open, as far as is known."""
        transport = self._connection.transport
        return transport is not None and transport.is_active()

    def forward(self, address: str, port: int) -> paramiko.Channel:
        """Open a TCP stream from the host to an address that it can reach.

        Raises HostFailed. If the connection itself failed, rather than the stream's target, the session is closed as
        well.
        """
        there = (address, port)
        try:
            if not self.alive:
                raise OSError("it was closed")
            transport: paramiko.Transport = self._connection.transport
            return transport.open_channel("direct-tcpip", there, ("127.0.0.1", 0), timeout=10)
        except paramiko.ChannelException:
            raise HostFailed(self.host, "", f"nothing answers at {address}:{port}") from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            self.close()
            raise HostFailed(self.host, "", f"the connection was lost: {error}") from None

    def close(self) -> None:
        """Close the connection; commands still running on the host see the end of their input."""
        with contextlib.suppress(OSError, paramiko.SSHException):
            self._connection.close()


def abandon(channel: paramiko.Channel) -> None:
    """Close a channel that is no longer needed, even if its connection is broken."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()


def _send(channel: paramiko.Channel, data: bytes, hold: bool) -> None:
    """Send a program its input. Errors are ignored: a program that exits without reading all of it prints why."""
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
