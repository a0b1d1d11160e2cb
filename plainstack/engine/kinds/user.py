"""System accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
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
    Situation,
    never_found,
    no_guards,
    outside_cause,
)
from plainstack.engine.kinds.origin import gone, made, origin
from plainstack.engine.observed import Entry, Observed, UserState
from plainstack.engine.transaction.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Resource):
    """A system account with its own group; `groups` are supplementary groups, which must exist."""

    name: str
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"
    groups: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"user {self.name}"


@dataclass(frozen=True, slots=True)
class MakeUser(Action):
    """Create an account, or change its home, shell and groups."""

    user: User
    create: bool
    cause: Cause
    detail: str

    counted: ClassVar[str] = "account"

    @property
    def ahead(self) -> bool:
        return True

    def subject(self) -> str:
        return f"{'create' if self.create else 'change'} user {self.user.name}"

    def steps(self, _number: str, bundle: Bundle) -> None:
        user, verb = self.user, "create_user" if self.create else "change_user"
        bundle.step(self.subject(), verb, user.name, user.home, user.shell, ",".join(user.groups))


@dataclass(frozen=True, slots=True)
class RemoveUser(Action):
    """Remove an account that Plainstack created; its files are kept."""

    name: str
    cause: Cause = "undeclared"
    detail: str = "no longer declared"

    counted: ClassVar[str] = "removal"

    def subject(self) -> str:
        return f"remove user {self.name}"

    def steps(self, _number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "remove_user", self.name)


def _ask(_kinds: Sequence[Kind[Any]], items: Sequence[User]) -> str:
    text = (
        f"left user\nset -- {' '.join(user.name for user in items)} $left\n"
        '[ $# = 0 ] || tagged user "$(getent passwd "$@")"\n'
    )
    if grouped := " ".join(user.name for user in items if user.groups):
        text += f'for u in {grouped}; do echo "groups\t$u\t$(id -nG "$u" 2>/dev/null)"; done\n'
    return text


def _read(seen: Observed, lines: Lines) -> Observed:
    groups = dict(line.split("\t")[:2] for line in lines.get("groups", ()))
    users = {}
    for line in lines.get("user", ()):
        fields = line.split(":")
        users[fields[0]] = UserState(fields[5], fields[6], tuple(groups.get(fields[0], "").split()))
    return replace(seen, users=users)


def _compare(user: User, situation: Situation) -> Iterator[Action]:
    seen = situation.observed.users.get(user.name)
    cause = outside_cause({entry.state for entry in situation.left(user)}, _state(user, situation))
    if seen is None:
        yield MakeUser(user, create=True, cause=cause, detail="missing")
        return
    lacking = set(user.groups) - set(seen.groups)
    differing = [
        name
        for name, differs in (
            ("home", seen.home != user.home),
            ("shell", seen.shell != user.shell),
            ("groups", bool(lacking)),
        )
        if differs
    ]
    if differing:
        cause = "changed" if cause == "new" else cause
        yield MakeUser(user, create=False, cause=cause, detail=f"{', '.join(differing)} differ")


def _state(user: User, situation: Situation) -> str:
    first = origin(situation.left(user), user.name in situation.observed.users)
    return f"{first} {user.home} {user.shell} {','.join(user.groups)}"


def _before(entry: Entry, observed: Observed) -> str:
    return "found" if entry.name in observed.users else "absent"


def _removed(left: Sequence[Entry], situation: Situation) -> Iterator[Action]:
    if made(left) and left[-1].name in situation.observed.users:
        yield RemoveUser(left[-1].name)


def _drift(left: Sequence[Entry], _wanted: User | None, observed: Observed) -> Difference | None:
    # After an interrupted run, either state is expected.
    between = len({entry.state for entry in left}) > 1
    return None if between or left[-1].name in observed.users else Difference("was removed")


USER = Kind[User](
    name="user",
    resource=User,
    folder=None,
    looks=(Look(("user", "groups"), _ask, _read),),
    guards=no_guards,
    rank=Rank.ACCOUNTS,
    compare=_compare,
    remembered=Remembered[User](
        state=_state,
        found=never_found,
        before=_before,
        gone=gone,
        removed=_removed,
        leaves=Leaves.ACCOUNTS,
        drift=_drift,
    ),
    functions="user",
)
