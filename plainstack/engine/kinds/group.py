"""System groups and, optionally, their members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause, Rank
from plainstack.engine.kinds.kind import (
    Difference,
    Kind,
    Leaves,
    Lines,
    Look,
    Remembered,
    Resource,
    Seen,
    Situation,
    never_found,
    no_guards,
    outside_cause,
)
from plainstack.engine.kinds.origin import PRESENT, gone, made, origin
from plainstack.engine.observed import Entry, Observed
from plainstack.engine.transaction.bundle import Bundle

MEMBERS = Seen[tuple[str, ...]]("group")
_UNMANAGED = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Resource):
    """A system group; with `members`, it has exactly these accounts, which must exist or be declared.

    A group that existed before Plainstack is not removed when it is no longer declared; it keeps its current members.
    """

    name: str
    members: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        return f"group {self.name}"


@dataclass(frozen=True, slots=True)
class Kept:
    """The manifest's state of a group. `members` is None if Plainstack does not manage them."""

    origin: str
    members: frozenset[str] | None

    @classmethod
    def of(cls, entry: Entry) -> Kept:
        origin, _, members = entry.state.partition(" ")
        return cls(origin, None if members in (_UNMANAGED, "") else frozenset(members.strip(",").split(",")) - {""})

    def __str__(self) -> str:
        return f"{self.origin} {_UNMANAGED if self.members is None else ','.join(sorted(self.members)) or ','}"


@dataclass(frozen=True, slots=True)
class MakeGroup(Action):
    """Create a group."""

    group: Group
    cause: Cause
    detail: str = "missing"

    counted: ClassVar[str] = "group"

    @property
    def ahead(self) -> bool:
        return True

    def subject(self) -> str:
        return f"create group {self.group.name}"

    def steps(self, _number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "create_group", self.group.name)


@dataclass(frozen=True, slots=True)
class SetMembers(Action):
    """Set the members of a group, after the accounts that its role declares have been created."""

    name: str
    members: tuple[str, ...]
    cause: Cause
    detail: str

    counted: ClassVar[str] = "membership"
    rank: ClassVar[Rank] = Rank.MEMBERS

    def subject(self) -> str:
        return f"set members of group {self.name}"

    def steps(self, _number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "set_members", self.name, ",".join(self.members))


@dataclass(frozen=True, slots=True)
class RemoveGroup(Action):
    """Remove a group that Plainstack created, unless remaining files or accounts still use it."""

    name: str
    cause: Cause = "undeclared"
    detail: str = "no longer declared"

    counted: ClassVar[str] = "removal"

    def subject(self) -> str:
        return f"remove group {self.name}"

    def steps(self, _number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "remove_group", self.name)


def _ask(_kinds: Sequence[Kind[Any]], items: Sequence[Group]) -> str:
    return (
        f"left group\nset -- {' '.join(item.name for item in items)} $left\n"
        '[ $# = 0 ] || tagged group "$(getent group "$@")"\n'
    )


def _read(seen: Observed, lines: Lines) -> Observed:
    rows = (line.split(":") for line in lines.get("group", ()))
    return MEMBERS.put(seen, {row[0]: tuple(filter(None, row[3].split(","))) for row in rows})


def _compare(item: Group, situation: Situation) -> Iterator[Action]:
    seen = MEMBERS.of(situation.observed).get(item.name)
    cause = outside_cause({entry.state for entry in situation.left(item)}, _state(item, situation))
    if seen is None:
        yield MakeGroup(item, cause)
    if item.members is not None and set(item.members) != set(seen or ()):
        what = f"{_listed(seen or ())} -> {_listed(item.members)}"
        yield SetMembers(item.name, item.members, "changed" if seen is not None and cause == "new" else cause, what)


def _listed(members: Sequence[str]) -> str:
    return ",".join(sorted(members)) or "nobody"


def _state(item: Group, situation: Situation) -> str:
    first = origin(situation.left(item), item.name in MEMBERS.of(situation.observed))
    return str(Kept(first, None if item.members is None else frozenset(item.members)))


def _before(entry: Entry, observed: Observed) -> str:
    seen = MEMBERS.of(observed).get(entry.name)
    return gone(()) if seen is None else str(Kept(PRESENT, frozenset(seen)))


def _removed(left: Sequence[Entry], situation: Situation) -> Iterator[Action]:
    if made(left) and left[-1].name in MEMBERS.of(situation.observed):
        yield RemoveGroup(left[-1].name)


def _drift(left: Sequence[Entry], wanted: Group | None, observed: Observed) -> Difference | None:
    seen, kept = MEMBERS.of(observed).get(left[-1].name), Kept.of(left[-1])
    # After an interrupted run, either state is expected.
    if len({entry.state for entry in left}) > 1:
        return None
    if seen is None:
        return Difference("was removed")
    as_wanted = wanted is not None and wanted.members is not None and set(wanted.members) == set(seen)
    if kept.members is None or kept.members == set(seen) or as_wanted:
        return None
    return Difference(f"its members were {_listed(tuple(kept.members))} and are now {_listed(seen)}")


GROUP = Kind[Group](
    name="group",
    resource=Group,
    folder=None,
    looks=(Look(("group",), _ask, _read),),
    guards=no_guards,
    rank=Rank.GROUPS,
    compare=_compare,
    remembered=Remembered[Group](
        state=_state,
        found=never_found,
        before=_before,
        gone=gone,
        removed=_removed,
        leaves=Leaves.GROUPS,
        drift=_drift,
    ),
    functions="group",
)
