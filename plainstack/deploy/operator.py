"""Who is at work, from which machine and which state of the code: for locks, manifests and logs."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess

from plainstack.inventory.stack import Stack


def who() -> str:
    """The operator, as others see them in locks and logs."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # in a container the number often has no name; which of the two is Python's version
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def commit(stack: Stack) -> str:
    """The git commit that the inventory's folder is at, marked -dirty when the tree differs; "-" outside git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(stack.folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "-"
    return done.stdout.strip() or "-"
