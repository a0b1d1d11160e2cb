"""The operator and the git commit of a run, as recorded in locks, manifests and logs."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess

from plainstack.inventory.stack import Stack


def who() -> str:
    """Return the operator as USER@MACHINE."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name; the exception depends on Python's version
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def commit(stack: Stack) -> str:
    """Return the git commit of the inventory's folder, with -dirty for uncommitted changes; "-" outside git."""
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
