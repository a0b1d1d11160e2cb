"""The interface that every kind of resource implements; every field is mandatory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import Any, Generic, TypeVar

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause, Rank
from plainstack.engine.observed import Entry, Observed

Lines = Mapping[str, Sequence[str]]
"""A probe's output: the lines of each tag, without the tag."""


class Resource(ABC):
    """A part of a host's desired state; each kind of resource is a frozen dataclass."""

    __slots__ = ()

    @property
    @abstractmethod
    def key(self) -> str:
        """The kind's name, a space, and the resource's name."""


R = TypeVar("R", bound=Resource)
S = TypeVar("S")


@dataclass(frozen=True)
class Situation:
    """The context in which a resource is compared with its host.

    `wanted` are the resources of the role, `everything` those of all roles. `ours` maps keys to the entries of the
    role's manifest. `rewritten` are the paths that this plan writes. `begun` is true if the role's plan already holds
    an action.
    """

    role: str
    wanted: Sequence[Resource]
    everything: Sequence[Resource]
    ours: Mapping[str, Sequence[Entry]]
    observed: Observed
    rewritten: frozenset[str] = frozenset()
    begun: bool = False

    def left(self, item: Resource) -> Sequence[Entry]:
        """Return the manifest entries of a resource."""
        return self.ours.get(item.key, ())


class Leaves(IntEnum):
    """The order in which undeclared resources are removed: units stop before their files are deleted."""

    UNITS = 0
    PATHS = 1
    SETTINGS = 2
    FOLDERS = 3
    ACCOUNTS = 4
    GROUPS = 5


@dataclass(frozen=True)
class Difference:
    """A difference from the state that Plainstack left, as a sentence.

    `since` is a shell script that prints when the difference arose, in seconds since the epoch; "" if unknown.
    """

    what: str
    since: str = ""


@dataclass(frozen=True)
class Look:
    """A part of the probe; kinds that read the same state share one.

    `ask` returns the shell script, given the kinds that share it and their resources. The script prints lines that
    begin with one of `tags` and a tab. If neither the resources nor the manifest name anything, it starts no process.
    `read` adds what the lines say to the observed state.
    """

    tags: tuple[str, ...]
    ask: Callable[[Sequence[Kind[Any]], Sequence[Any]], str]
    read: Callable[[Observed, Lines], Observed]


@dataclass(frozen=True)
class Seen(Generic[S]):
    """Typed access to the states in Observed that only one kind reads."""

    name: str

    def of(self, observed: Observed) -> Mapping[str, S]:
        """Return the states by name."""
        return observed.states.get(self.name, {})

    def put(self, observed: Observed, states: Mapping[str, S]) -> Observed:
        """Return a copy of `observed` with these states."""
        return replace(observed, states={**observed.states, self.name: states}) if states else observed


@dataclass(frozen=True, kw_only=True)
class Remembered(Generic[R]):
    """How a kind is recorded in a host's manifest. The format must not change: hosts have manifests of older versions.

    `state` returns the state that the manifest records after a plan, None for no entry. `found` tells whether the
    resource was already on the host in its desired state; Plainstack then never removes it. `before` returns the state
    of a newly managed resource before the run, and `gone` the state after a removal: an interrupted run leaves either
    the old state or the new one. `removed` returns the actions for a resource that is no longer declared; `leaves`
    places them in the removal order. `drift` returns None if the resource is as Plainstack left it or as it is wanted
    now; its second argument is None if no role declares the resource.
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
    """One kind of resource, as the engine uses it.

    `name` is its name in manifests. `folder` is None for resources that are not at a path; otherwise `folder` plus a
    resource's name is its path, and only one resource of any kind can have a path. `looks` are the parts of the probe
    that read the kind. `guards` returns the shell tests that the probe runs for a resource, by name. `compare` returns
    the actions that bring the observed state to the desired one; `rank` places them in the role's transaction.
    `remembered` is None for kinds that the manifest does not record. `functions` names the file of shell functions
    beside the kind's module, "" for none. Each function records its undo before it changes anything.
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


def no_guards(_item: Resource) -> Mapping[str, str]:
    """Return no guards: for kinds that are compared by their observed state alone."""
    return {}


def done_elsewhere(_item: Resource, _situation: Situation) -> Iterable[Action]:
    """Return no actions: for kinds that are planned elsewhere, as packages and validations are."""
    return ()


def never_found(_item: Resource, _observed: Observed) -> bool:
    """Return False, for kinds that Plainstack may remove in any case, or whose state records the creator."""
    return False


def nothing_removed(_left: Sequence[Entry], _situation: Situation) -> Iterable[Action]:
    """Return no actions: for kinds that are not removed with their role."""
    return ()


def outside_cause(left: Collection[str], wanted: str) -> Cause:
    """Return the cause of a difference, for kinds whose manifest states record the desired state.

    `left` are the recorded states of the resource, `wanted` is its desired state now.
    """
    states = set(left)
    if not states:
        return "new"
    if len(states) > 1:
        return "interrupted"
    return "drift" if wanted in states else "changed"
