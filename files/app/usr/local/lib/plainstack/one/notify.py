"""What systemd is told about this service: ready, status, and when to kill it if it is not heard of again."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Send lines to systemd, if it listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender, contextlib.suppress(OSError):
        # systemd that does not read must not stop the guard.
        sender.setblocking(False)
        sender.sendto("\n".join(lines).encode(), f"\0{address[1:]}" if address[0] == "@" else address)


def kill_after(seconds: float) -> tuple[str, str]:
    """Return the lines that have systemd kill the service so many seconds from now, unless others come first."""
    return "WATCHDOG=1", f"WATCHDOG_USEC={max(int(seconds * 1_000_000), 1)}"
