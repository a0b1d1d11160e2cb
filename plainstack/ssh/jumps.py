"""Connections through which hosts are reached: jump hosts, shared by all hosts behind them, and proxy commands."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import field

import paramiko
from fabric import Connection

from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.ssh.connect_errors import BROKEN, JumpFailed, explain
from plainstack.ssh.reach import Reach
from plainstack.ssh.ways import GATEWAY, Way


@dataclass
class _Jump:
    lock: threading.Lock = field(default_factory=threading.Lock)
    connection: Connection | None = None
    refused: str = ""


class Jumps:
    """The connections to jump hosts, opened with `connect` on first use and shared by all hosts behind them."""

    def __init__(self, connect: Callable[[Way], Connection], stack: Reach) -> None:
        self._connect, self._stack = connect, stack
        self._lock = threading.Lock()
        self._kept: dict[Way, _Jump] = {}

    def to(self, way: Way) -> paramiko.Transport:
        """Return the connection to a jump host.

        If it cannot be opened, raises Refused for the inventory's gateway, and JumpFailed for any other jump host.
        """
        with self._lock:
            jump = self._kept.setdefault(way, _Jump())
        with jump.lock:
            if jump.refused:
                # Otherwise every host would wait for the same timeout, one after another.
                raise _failure(way, jump.refused)
            if jump.connection is None:
                try:
                    jump.connection = self._connect(way)
                except JumpFailed:
                    raise
                except BROKEN as error:
                    jump.refused = f"{way.called}: {explain(error, way, self._stack)}"
                    raise _failure(way, jump.refused) from None
            transport: paramiko.Transport = jump.connection.transport
            return transport

    def renew(self) -> None:
        """Forget failed attempts and connections that have ended, so that the next use tries again."""
        with self._lock:
            for way, jump in list(self._kept.items()):
                if jump.connection is None or not jump.connection.transport.is_active():
                    del self._kept[way]

    def close(self) -> None:
        """Close all connections."""
        for jump in list(self._kept.values()):
            if jump.connection is not None:
                jump.connection.close()


def _failure(way: Way, reason: str) -> Exception:
    return Refused(reason) if way.source == GATEWAY else JumpFailed(reason)


def through_command(command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start a proxy command as ssh does; return a socket connected to its stdin and stdout, and its process."""
    ours, theirs = socket.socketpair()
    with theirs:
        shell = os.environ.get("SHELL") or "/bin/sh"
        # In a process group of its own, so that Ctrl-C does not end it: hosts that finish their transactions still need
        # this connection.
        end = theirs.fileno()
        process = subprocess.Popen([shell, "-c", f"exec {command}"], stdin=end, stdout=end, process_group=0)
    return ours, process
