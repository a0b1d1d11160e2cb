"""Ports of loopback for programs that tests start."""

from __future__ import annotations

import socket

_RESERVED: list[socket.socket] = []


def free_port() -> int:
    """Return a TCP port that no other program on this machine gets until this process ends.

    The port stays bound: only a program that asks for this very number and sets SO_REUSEADDR, as servers do, can listen
    at it. The kernel gives it neither to a server that asks for any port nor to an outgoing connection.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _RESERVED.append(reserved)
    port: int = reserved.getsockname()[1]
    return port
