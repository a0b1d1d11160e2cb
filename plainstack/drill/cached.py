"""The cache's side of a drill: who is its primary, and which of the drill's keys it has."""

from __future__ import annotations

import shlex

from plainstack.errors import HostFailed
from plainstack.roles.cache.settings import CLI, HEALTHY, UNIT
from plainstack.ssh.session import Session

__all__ = ["HEALTHY", "UNIT", "clean_up", "final_read", "role"]

_ROLE = f"timeout 5 {CLI} info replication | tr -d '\\r' | sed -nE 's/^(role|master_host|master_link_status):/\\1=/p'"


def role(session: Session) -> str:
    """Return "primary", "replica of HOST", "replica of HOST, not connected", or "" if Valkey does not answer."""
    output = session.script(_ROLE, timeout=10, step="ask the cache")
    known = dict(line.split("=", 1) for line in output.out.splitlines() if "=" in line)
    if known.get("role") == "master":
        return "primary"
    if known.get("role") == "slave":
        return f"replica of {known.get('master_host')}" + ", not connected" * (known.get("master_link_status") != "up")
    return ""


def final_read(primary: Session, drill: str) -> dict[int, int]:
    """Return the drill's keys that the cache has, each with 1. Raises HostFailed."""
    prefix = f"plainstack-drill:{drill}:"
    output = primary.script(f"{CLI} --scan --pattern {shlex.quote(prefix + '*')}", timeout=60, step="final read")
    if output.code != 0:
        raise HostFailed(primary.host, "final read", "failed", output.err.splitlines()[-5:], output.code)
    keys = [line.removeprefix(prefix) for line in output.out.splitlines() if line.startswith(prefix)]
    return {int(key): 1 for key in keys if key.isdecimal()}


def clean_up(primary: Session) -> None:
    """Remove the keys of this drill, and those that a killed drill left behind."""
    primary.script(f"{CLI} --scan --pattern 'plainstack-drill:*' | xargs -r {CLI} unlink", timeout=60, step="clean up")
