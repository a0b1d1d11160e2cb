"""What every kind of resource has: the faces that the engine asks, none of which can be forgotten."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Generic, TypeVar

from plainstack.engine.kinds.action import Action, Cause, Rank
from plainstack.engine.observed import Entry, Observed

Lines = Mapping[str, Sequence[str]]
"""A probe's answer: what follows each tag, line by line."""


class Resource(ABC):
    """One thing that a host should have or be; a frozen dataclass for each kind."""

    __slots__ = ()

    @property
    @abstractmethod
    def key(self) -> str:
        """The kind's name, a space, and the name of the thing."""


R = TypeVar("R", bound=Resource)
S = TypeVar("S")


@dataclass(frozen=True)
class Situation:
    """What one resource is compared with.

    `wanted` is what the role wants and `everything` what all roles do; `ours` is the role's manifest by key.
    `rewritten` are the paths that this plan writes; `begun` tells whether the role's plan holds anything before this
    resource.
    """

    role: str
    wanted: Sequence[Resource]
    everything: Sequence[Resource]
    ours: Mapping[str, Sequence[Entry]]
    observed: Observed
    rewritten: frozenset[str] = frozenset()
    begun: bool = False

    def left(self, item: Resource) -> Sequence[Entry]:
        """What the manifest says of a resource."""
        return self.ours.get(item.key, ())


class Leaves(IntEnum):
    """The order in which goes what is no longer declared: units stop before the files that they run from go."""

    UNITS = 0
    PATHS = 1
    SETTINGS = 2
    FOLDERS = 3
    ACCOUNTS = 4
    GROUPS = 5


@dataclass(frozen=True)
class Difference:
    """What is not as it was left, as a sentence; `since` is shell text that prints when that came, in seconds."""

    what: str
    since: str = ""


@dataclass(frozen=True)
class Look:
    """A part of the probe, which kinds that read the same things share.

    `ask` makes its shell text, from the kinds that share it and their resources; it starts no process where neither
    resources nor the manifest name anything, and prints lines that begin with one of `tags` and a tab. `read` completes
    what was observed by those lines.
    """

    tags: tuple[str, ...]
    ask: Callable[[Sequence[Kind[Any]], Sequence[Any]], str]
    read: Callable[[Observed, Lines], Observed]


@dataclass(frozen=True)
class Seen(Generic[S]):
    """The place in Observed of the states that only their own kind reads."""

    name: str

    def of(self, observed: Observed) -> Mapping[str, S]:
        """The states by name."""
        return observed.states.get(self.name, {})

    def put(self, observed: Observed, states: Mapping[str, S]) -> Observed:
        """The same with these states."""
        return replace(observed, states={**observed.states, self.name: states}) if states else observed


@dataclass(frozen=True, kw_only=True)
class Remembered(Generic[R]):
    """How a kind is kept in a host's manifest, as text that older versions wrote too, and what follows from it.

    `state` is what the manifest keeps after a plan, None for nothing. `found` tells whether the thing was on the host
    already, just as wanted: then it is not ours to remove. `before` is the state in which a run finds what becomes
    ours, and `gone` the one that a removal leaves: a run that is killed leaves one of the two ends. `removed` are the
    actions when it is no longer declared, and `leaves` when they are done. `drift` is None when all is as it was left
    or as it is wanted now; `wanted` is None when nobody declares it.
    """

    state: Callable[[R, Situation], str | None]
    found: Callable[[R, Observed], bool]
    before: Callable[[Entry, Observed], str]
    gone: Callable[[Sequence[Entry]], str]
    removed: Callable[[Sequence[Entry], Situation], Iterable[Action]]
    leaves: Leaves
    drift: Callable[[Sequence[Entry], R | None, Observed], Difference | None]


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[R]):
    """All that the engine must know of one kind of resource.

    `name` is what manifests call it. `folder` is not None for what lies at a path: that of a thing is this and its
    name, and kinds with the same path exclude each other. `looks` are the parts of the probe that read it, `guards`
    the shell tests of a resource that the probe judges, by name. `compare` gives the actions that bring what was
    observed to what is wanted; `rank` is where in its role's transaction. `remembered` is None for what a host is not
    left with. `functions` names the file of shell functions beside its module, "" for none: each of them notes its
    undo before it does anything.
    """

    name: str
    resource: type[R]
    folder: str | None
    looks: tuple[Look, ...]
    guards: Callable[[R], Mapping[str, str]]
    rank: Rank
    compare: Callable[[R, Situation], Iterable[Action]]
    remembered: Remembered[R] | None
    functions: str


def no_guards(item: Resource) -> Mapping[str, str]:  # noqa: ARG001
    """Of a kind whose state tells all."""
    return {}


def done_elsewhere(item: Resource, situation: Situation) -> Iterable[Action]:  # noqa: ARG001
    """Of a kind that is not compared one by one: packages of a host go together, validations with what they read."""
    return ()


def never_found(item: Resource, observed: Observed) -> bool:  # noqa: ARG001
    """Of a kind that may be set back or removed whoever made it, or whose state tells who did."""
    return False


def nothing_removed(left: Sequence[Entry], situation: Situation) -> Iterable[Action]:  # noqa: ARG001
    """Of a kind that is not removed with its role."""
    return ()


def outside_cause(left: Collection[str], wanted: str) -> Cause:
    """The cause of a difference in something whose manifest state says what was wanted of it."""
    states = set(left)
    if not states:
        return "new"
    if len(states) > 1:
        return "interrupted"
    return "drift" if wanted in states else "changed"
