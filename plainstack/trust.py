"""Pinning of host keys: what the hosts offer now, against what is pinned."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from plainstack.errors import HostFailed
from plainstack.ssh import Sessions, fan_out, fingerprint, known_hosts
from plainstack.stack import Stack


@dataclass(frozen=True)
class Change:
    """A host whose offered key is not the pinned one; `old` is None for a host that was never pinned."""

    host: str
    entry: str
    new: paramiko.PKey
    old: paramiko.PKey | None

    def told(self) -> str:
        """The change in words, with fingerprints as OpenSSH prints them."""
        if self.old is None:
            return f"{self.host} ({self.entry}): new key {fingerprint(self.new)}"
        return f"{self.host} ({self.entry}): CHANGED from {fingerprint(self.old)} to {fingerprint(self.new)}"


@dataclass
class Found:
    """What asking every host gave."""

    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def entry_name(address: str, port: int) -> str:
    """How known_hosts files name a host."""
    return address if port == 22 else f"[{address}]:{port}"


def changes(stack: Stack) -> Found:
    """Ask every host for its key, without logging in."""
    found = Found()
    with Sessions(stack) as sessions:
        offered = fan_out(stack.hosts, sessions.host_key)
    for name, key in offered.items():
        if isinstance(key, HostFailed):
            found.failed[name] = key.reason
        else:
            _compare(stack, found, name, entry_name(str(stack.hosts[name].address), stack.ssh.port), key)
    return found


def gateway_changes(stack: Stack) -> Found:
    """The same for the jump host, which must be pinned before the hosts behind it can be asked."""
    found = Found()
    if stack.ssh.gateway is None or stack.in_lab:
        return found
    with Sessions(stack) as sessions:
        address, port, key = sessions.gateway_key(stack.ssh.gateway)
    _compare(stack, found, stack.ssh.gateway, entry_name(address, port), key)
    return found


def _compare(stack: Stack, found: Found, name: str, entry: str, key: paramiko.PKey) -> None:
    pins = paramiko.HostKeys(str(known_hosts(stack))) if known_hosts(stack).exists() else paramiko.HostKeys()
    pinned = pins.lookup(entry)
    old = next(iter(pinned.values())) if pinned else None
    if old is not None and old.asbytes() == key.asbytes():
        found.unchanged += 1
    else:
        found.changes.append(Change(name, entry, key, old))


def pin(stack: Stack, wanted: list[Change]) -> None:
    """Write the new pins; the file appears whole or not at all."""
    if not wanted:
        return
    path = known_hosts(stack)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    replaced = {change.entry for change in wanted}
    kept = [line for line in lines if line.split(" ", 1)[0] not in replaced]
    new = [f"{change.entry} {change.new.get_name()} {change.new.get_base64()}" for change in wanted]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".known_hosts-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("\n".join([*kept, *new]) + "\n")
    Path(temporary).rename(path)
