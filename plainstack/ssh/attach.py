"""Connects a program on a host to the streams and the terminal of this process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator

import paramiko

from plainstack.dataclass import dataclass
from plainstack.errors import HostFailed
from plainstack.ssh.alive import answers, still_there
from plainstack.ssh.session import Session, Started, abandon

_BLOCK = 65536
# The exit code to report for a program that has none because a signal ended it.
UNKNOWN = 255


@dataclass(frozen=True)
class Streams:
    """A program's streams: `input` is a file descriptor to read; `output` and `errors` are called with what it prints.

    If `terminal` is set, `input` is a terminal, and the program gets a terminal of the same size.
    """

    input: int
    output: Callable[[bytes], object]
    errors: Callable[[bytes], object]
    terminal: bool = False


def attach(session: Session, command: str, streams: Streams, interrupt: Callable[[], None] | None = None) -> int:
    """Run a command as root and return its exit code; an empty command means the account's login shell.

    On a terminal, the program receives every key, including Ctrl-C. Otherwise the first Ctrl-C calls `interrupt`, and
    the second raises KeyboardInterrupt; without `interrupt`, the first one raises it. Raises HostFailed if the
    connection fails, and OSError if the output cannot be written.
    """
    started = session.start(command, os.get_terminal_size(streams.input) if streams.terminal else None)
    with contextlib.ExitStack() as ends:
        ends.callback(abandon, started.channel)
        ends.enter_context(_sending(started.channel, streams.input, terminal=streams.terminal))
        if streams.terminal:
            ends.enter_context(_raw(streams.input))
        wake = ends.enter_context(_woken(terminal=streams.terminal))
        while True:
            try:
                return _carry(started, streams, wake)
            except KeyboardInterrupt:
                if interrupt is None:
                    raise
                interrupt()
                interrupt = None


def _carry(started: Started, streams: Streams, wake: socket.socket) -> int:
    """Write a program's output until the program ends, and return its exit code."""
    channel = started.channel
    heard = time.monotonic()
    while True:
        over = channel.closed or (channel.eof_received and channel.exit_status_ready())
        watched: list[paramiko.Channel | socket.socket] = [wake] if over else [channel, wake]
        ready, _, _ = select.select(watched, [], [], 0 if over else 1.0)
        if wake in ready:
            wake.recv(_BLOCK)
            size = os.get_terminal_size(streams.input)
            with _failure_of(started):
                channel.resize_pty(size.columns, size.lines)
        if channel in ready or over:
            heard = time.monotonic()
            _forward(started, streams)
        else:
            with _failure_of(started):
                heard = still_there(channel.get_transport(), heard)
        if over:
            return _code(started)


@contextlib.contextmanager
def _failure_of(started: Started) -> Iterator[None]:
    """Turn an error of the connection into a failure of the host."""
    try:
        yield
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise HostFailed(started.host, "", f"the connection was lost: {error}") from None


def _code(started: Started) -> int:
    channel = started.channel
    code: int = channel.recv_exit_status() if channel.exit_status_ready() else -1
    with _failure_of(started):
        # A missing exit code means that a signal ended a login shell, or that the connection was lost.
        if code == -1 and not answers(channel.get_transport()):
            raise OSError("it was closed from the other end")
    if not started.out.begun:
        raise HostFailed(started.host, "", *started.frame.refusal(started.out, started.err, code))
    return code if code >= 0 else UNKNOWN


def _forward(started: Started, streams: Streams) -> None:
    channel, out, err = started.channel, started.out, started.err
    while channel.recv_ready() and (data := channel.recv(_BLOCK)):
        out.feed(data)
        streams.output(out.taken())
    while channel.recv_stderr_ready() and (data := channel.recv_stderr(_BLOCK)):
        err.feed(data)
        streams.errors(err.taken())
    if reason := started.frame.impediment(out, err):
        raise HostFailed(started.host, "", reason)


@contextlib.contextmanager
def _sending(channel: paramiko.Channel, source: int, *, terminal: bool) -> Iterator[None]:
    """Send everything that `source` yields, in a thread, because a program may print before it reads its input."""
    stop, stopped = os.pipe()

    def send() -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while select.select([source, stop], [], [])[0] == [source]:
                data = os.read(source, _BLOCK)
                if not data:
                    break
                channel.sendall(data)
            if not terminal:
                channel.shutdown_write()

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    try:
        yield
    finally:
        os.close(stopped)
        abandon(channel)
        sending.join()
        os.close(stop)


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Switch the terminal to raw mode, in which it passes on every key as it is typed, and restore it at the end."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _woken(*, terminal: bool) -> Iterator[socket.socket]:
    """Yield a socket that becomes readable when the terminal's size changes."""
    here, there = socket.socketpair()
    with here, there:
        if not terminal:
            yield here
            return
        there.setblocking(False)
        wakes = signal.set_wakeup_fd(there.fileno())
        # Without a handler, the signal is ignored and wakes nothing.
        before = signal.signal(signal.SIGWINCH, lambda _signal, _frame: None)
        try:
            yield here
        finally:
            signal.signal(signal.SIGWINCH, before)
            signal.set_wakeup_fd(wakes)
