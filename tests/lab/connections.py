"""Connections to lab hosts that the scripts of a test share: a new one costs more than most of the scripts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from plainstack.lab import cgroup

# Sockets have short paths.
SOCKETS = Path("/run/plainstack-tests")
# Seconds. Unused for so long, a connection that a killed run has left is closed.
UNUSED = 60


def shared(lab: str, host: str) -> list[str]:
    """Return the options with which ssh uses the open connection to a host, or opens one and leaves it open.

    A host that has booted since then gets a new connection.
    """
    boots = [boot.stat().st_ino for boot in (cgroup.tree() / lab / host).glob("boot-*")]
    if not boots:
        return []
    folder = SOCKETS / lab
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{host}-{max(boots)}"
    return [f"-oControlPath={path}", "-oControlMaster=auto", f"-oControlPersist={UNUSED}"]


def close(lab: str) -> None:
    """Close the connections to all hosts of a lab, before one of them loses its network or is stopped."""
    for path in (SOCKETS / lab).glob("*"):
        subprocess.run(["ssh", f"-oControlPath={path}", "-Oexit", "lab"], capture_output=True, check=False)
        path.unlink(missing_ok=True)
