"""Messages to systemd about this service: that it is ready, its status, and when to kill it."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Send lines to systemd; do nothing if it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender, contextlib.suppress(OSError):
        # If systemd does not read its socket, the guard must not block.
        sender.setblocking(False)
        sender.sendto("\n".join(lines).encode(), f"\0{address[1:]}" if address[0] == "@" else address)


def kill_after(seconds: float) -> tuple[str, str]:
    """Return the lines that make systemd kill the service in so many seconds, unless new ones arrive before that."""
    return "WATCHDOG=1", f"WATCHDOG_USEC={max(int(seconds * 1_000_000), 1)}"
