"""A command that runs on a host until it is released, and answers questions meanwhile."""

from __future__ import annotations

import contextlib

import paramiko

from plainstack.errors import HostFailed
from plainstack.ssh.exec_frame import Frame

# Seconds.
_ANSWERS_WITHIN = 30


class Held:
    """A running command; it sees the end of its input when it is released, or when the connection ends."""

    def __init__(self, host: str, step: str, channel: paramiko.Channel, frame: Frame) -> None:
        self._host, self._step, self._channel, self._frame = host, step, channel, frame
        self._out, self._err = frame.stream(), frame.stream()
        self._read = 0
        channel.settimeout(_ANSWERS_WITHIN)

    def ask(self, question: str) -> str:
        """Send a line of input, and return the next line of output, or "" if the command has ended.

        Raises HostFailed if the command never began, or if the connection fails.
        """
        try:
            # Sending fails if the command has ended; its output, read below, says why.
            with contextlib.suppress(OSError):
                self._channel.sendall(f"{question}\n".encode())
            return self._line()
        except (OSError, paramiko.SSHException) as error:
            raise HostFailed(self._host, self._step, str(error)) from None

    def _line(self) -> str:
        out, err = self._out, self._err
        while (end := out.data.find(b"\n", self._read)) < 0 and (data := self._channel.recv(65536)):
            out.feed(data)
            if reason := self._frame.impediment(out, err):
                raise HostFailed(self._host, self._step, reason)
        if not out.begun:
            while data := self._channel.recv_stderr(65536):
                err.feed(data)
            raise HostFailed(self._host, self._step, *self._frame.refusal(out, err, self._channel.recv_exit_status()))
        line = out.data[self._read : end if end >= 0 else None]
        self._read += len(line) + 1
        return line.decode(errors="replace").strip()

    def release(self) -> None:
        """Close the channel, which ends the command's input."""
        self._channel.close()
