"""What a host was seen to be: the parsed answer of one probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PathState:
    """One path as lstat and sha256sum see it; `target` is a link's, `sha256` a regular file's."""

    kind: str
    mode: int
    owner: str
    group: str
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class UserState:
    """One line of passwd, with the account's supplementary groups."""

    home: str
    shell: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as systemd shows it."""

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    file: str = ""


FOUND = "(found)"
"""The author of an entry for something that was on the host already, just as it is wanted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a host's manifest: something Plainstack made, in the state it left it, when, who and from what.

    While a transaction runs, a key may have two lines: the state before and the state wanted. `store` is the version of
    the secret store that a file with secrets was made from.
    """

    kind: str
    name: str
    state: str
    when: str = ""
    who: str = ""
    commit: str = ""
    store: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind} {self.name}"

    def line(self) -> str:
        known = (self.kind, self.name, self.state, self.when, self.who, self.commit)
        return "\t".join((*known, self.store) if self.store else known)


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that waits on a port; `address` is empty for all addresses, `unit` when no unit started it."""

    protocol: str
    address: str
    port: int
    process: str = ""
    pid: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """The whole of what planning needs to know of a host; a key that is absent means that the thing is.

    `lock` says who is at work there; `ending` tells of the work of a run whose operator is gone, `guard_pending` of a
    change that waits for its operator, or to be undone in `guard_left` seconds (None: not known). `up_for` is since
    when a unit that runs does, in seconds. `listeners` hold the ports that the host's units want; `removes` are the
    packages that apt would remove to install the missing ones, as far as the host's package lists tell. `states` are of
    kinds that nobody else reads, by kind and name; see plainstack.engine.kinds.kind.Seen.
    """

    paths: Mapping[str, PathState] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, UserState] = field(default_factory=dict)
    units: Mapping[str, UnitState] = field(default_factory=dict)
    up_for: Mapping[str, float] = field(default_factory=dict)
    stamps: Mapping[str, str] = field(default_factory=dict)
    guards: Mapping[str, bool] = field(default_factory=dict)
    manifest: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    removes: tuple[str, ...] = ()
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    generation: str = ""
    lock: str = ""
    guard_pending: bool = False
    guard_left: int | None = None
    ending: bool = False
