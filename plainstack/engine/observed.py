"""The observed state of a host: the parsed output of one probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from plainstack.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PathState:
    """A path as lstat and sha256sum report it; `target` is set for links, `sha256` for regular files."""

    kind: str
    mode: int
    owner: str
    group: str
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class UserState:
    """An account's line in passwd, with its supplementary groups."""

    home: str
    shell: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit's LoadState, ActiveState ("active" also while it reloads), SubState and UnitFileState."""

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    file: str = ""


FOUND = "(found)"
"""The author (`who`) of entries for states that Plainstack found on the host rather than made."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a host's manifest: a resource, the state Plainstack left it in, and the time, operator and commit.

    While a transaction runs, a key may have two lines: the previous state and the desired state. `store` is the version
    of the secret store that a file with secrets was rendered from.
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
    """A process that listens on a port.

    `address` is "" for all addresses; `unit` is "" if no unit started the process.
    """

    protocol: str
    address: str
    port: int
    process: str = ""
    pid: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a run whose operator has disconnected is doing: its step, "" if it is not known.

    The step ends in `left` seconds at the latest (None: not known); `progress` is the last line that it has printed.
    """

    step: str = ""
    left: int | None = None
    progress: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """The observed state of a host, as planning needs it; a missing key means that there is no such resource.

    `lock` names the holder of the host's lock. `ending` is true while a run whose operator has disconnected is still
    finishing, and `unfinished` is what it is doing. `guard_pending` is true while a guarded change waits for
    confirmation; the host undoes it in `guard_left` seconds (None: not known). `up_for` maps active units to their
    uptime in seconds. `listeners` are the processes that hold ports of the host's units. `removes` are the packages
    that apt would remove to install the missing ones, according to the host's package lists; `unknown` are those of
    them that the lists do not have. `states` holds, by kind and name, states that only one kind reads; see
    plainstack.engine.kinds.kind.Seen.
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
    unknown: tuple[str, ...] = ()
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    generation: str = ""
    lock: str = ""
    guard_pending: bool = False
    guard_left: int | None = None
    ending: bool = False
    unfinished: Unfinished = Unfinished()
