"""Opens sockets in the lab's network namespace. Every command imports this module, so it imports very little."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from plainstack.errors import PlainstackError

T = TypeVar("T")
_FOLDER = "/run/netns"
_CLONE_NEWNET = 0x40000000


class LabError(PlainstackError):
    """The lab cannot carry out a request; the message says why and what to do."""


class LabDown(LabError):
    """The lab is not up."""

    def __init__(self) -> None:
        super().__init__("the lab is not up. Run: inv lab.up")


def is_up(namespace: str) -> bool:
    """Return whether the namespace exists."""
    try:
        # If /run is on a disk, the name outlives its namespace after a reboot. The name of a live one is on nsfs.
        return os.stat(f"{_FOLDER}/{namespace}").st_dev == os.stat("/proc/self/ns/net").st_dev  # noqa: PTH116 - a special file
    except FileNotFoundError:
        return False


def connect(namespace: str, address: str, port: int, timeout: float) -> socket.socket:
    """Open a TCP connection from inside the namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = inside(namespace, lambda: socket.socket(family, socket.SOCK_STREAM))
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        # A socket stays in the namespace it was created in, so connecting can happen outside the thread.
        sock.connect((address, port))
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


def inside(namespace: str, function: Callable[[], T]) -> T:
    """Call a function in a short-lived thread that has entered the namespace."""
    if not is_up(namespace):
        raise LabDown
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _enter(namespace)
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name=f"netns {namespace}", daemon=True)
    thread.start()
    thread.join()
    if errors:
        if isinstance(errors[0], FileNotFoundError):
            raise LabDown from errors[0]
        if isinstance(errors[0], PermissionError):
            raise LabError("reaching the lab's hosts needs root: run it with sudo") from errors[0]
        raise errors[0]
    return results[0]


def _enter(namespace: str) -> None:
    fd = os.open(f"{_FOLDER}/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
    finally:
        os.close(fd)


if sys.version_info >= (3, 12):

    def _setns(fd: int) -> None:
        os.setns(fd, os.CLONE_NEWNET)

else:

    def _setns(fd: int) -> None:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
