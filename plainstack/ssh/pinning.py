"""Compares the host keys that machines offer with the pinned ones, and pins new keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path

import paramiko

from plainstack import state_folder
from plainstack.dataclass import dataclass
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.ssh.connect_errors import fingerprint
from plainstack.ssh.connections import Sessions, fan_out, known_hosts
from plainstack.ssh.known_hosts import Pins, entry_name
from plainstack.ssh.ways import Way


@dataclass(frozen=True)
class Change:
    """A host whose offered key is not the pinned one; `old` is None if the host was never pinned."""

    host: str
    entry: str
    new: paramiko.PKey
    old: paramiko.PKey | None

    def described(self) -> str:
        """Return the change as a line to print, with fingerprints in OpenSSH's format."""
        if self.old is None:
            return f"{self.host} ({self.entry}): new key {fingerprint(self.new)}"
        return f"{self.host} ({self.entry}): CHANGED from {fingerprint(self.old)} to {fingerprint(self.new)}"


@dataclass
class Found:
    """The result of one round: changed keys, the number of unchanged ones, and the reason for each failed machine."""

    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def rounds(stack: Stack, note: Callable[[str], None]) -> Iterator[Found]:
    """Read the key that every machine offers, in rounds: first the jump hosts, nearest first, then the hosts.

    No round logs in to the machines whose keys it reads. Pin the changes of a round before you request the next one,
    which connects through the machines of earlier rounds.
    """
    with Sessions(stack) as sessions:
        ways = {name: sessions.ways.to(host) for name, host in stack.hosts.items()}
        for text in sessions.notes:
            note(text)
    passed = [way.jumps for way in ways.values()]
    for depth in range(max(map(len, passed))):
        yield _ask(stack, {jumps[depth].name: jumps[depth] for jumps in passed if len(jumps) > depth})
    yield _ask(stack, ways)


def _ask(stack: Stack, ways: Mapping[str, Way]) -> Found:
    found = Found()
    pins = Pins.read(known_hosts(stack))
    with Sessions(stack) as sessions:
        offered = fan_out(ways, lambda name: sessions.offered_key(ways[name]))
    for name, key in offered.items():
        if isinstance(key, HostFailed):
            found.failed[name] = key.reason
            continue
        entry = entry_name(ways[name].address, ways[name].port)
        old = pins.expected(entry, key)
        if old is not None and old.asbytes() == key.asbytes():
            found.unchanged += 1
        else:
            found.changes.append(Change(name, entry, key, old))
    return found


def pin(stack: Stack, wanted: list[Change]) -> None:
    """Write the new pins; the file is replaced atomically."""
    if not wanted:
        return
    path = known_hosts(stack)
    text = Pins.read(path).replaced({change.entry: change.new for change in wanted})
    state_folder.make(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".known_hosts-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).rename(path)
