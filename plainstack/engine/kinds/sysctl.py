"""Kernel parameters."""

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
from plainstack.engine.observed import Entry, Observed
from plainstack.engine.transaction.bundle import Bundle

VALUES = Seen[str]("sysctl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl(Resource):
    """The live value of a kernel parameter, as /proc/sys shows it.

    To keep the value across reboots, declare a file in /etc/sysctl.d as well. When the parameter is no longer declared,
    it returns to the value it had before Plainstack.
    """

    name: str
    value: str

    @property
    def key(self) -> str:
        return f"sysctl {self.name}"


@dataclass(frozen=True, slots=True)
class Kept:
    """The manifest's state of a parameter: its value, and its value before Plainstack."""

    value: str
    was: str

    @classmethod
    def of(cls, entry: Entry) -> Kept:
        value, _, was = entry.state.partition(" was ")
        return cls(value, was)

    def __str__(self) -> str:
        return f"{self.value} was {self.was}"


@dataclass(frozen=True, slots=True)
class SetSysctl(Action):
    """Set a kernel parameter."""

    name: str
    value: str
    cause: Cause
    detail: str

    counted: ClassVar[str] = "kernel parameter"

    def subject(self) -> str:
        return f"set {self.name} = {self.value}"

    def steps(self, _number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "set_sysctl", self.name, self.value)


def _ask(_kinds: Sequence[Kind[Any]], items: Sequence[Sysctl]) -> str:
    return (
        f"left sysctl\nfor key in {' '.join(item.name for item in items)} $left; do\n"
        # Use cat: the shell's `read` reads byte by byte, and a numeric parameter returns only its first byte that way.
        "IFS=.\nset -- $key\nIFS=/\nknob=$root/proc/sys/$*\nunset IFS\n"
        'value=$(cat "$knob") && echo "sysctl\t$key\t$value"\ndone 2>/dev/null\n'
    )


def _read(seen: Observed, lines: Lines) -> Observed:
    values = (line.split("\t") for line in lines.get("sysctl", ()))
    return VALUES.put(seen, {name: value for name, value, *_ in values})


def _compare(item: Sysctl, situation: Situation) -> Iterator[Action]:
    seen = VALUES.of(situation.observed).get(item.name)
    if seen != item.value:
        left = {Kept.of(entry).value for entry in situation.left(item)}
        yield SetSysctl(item.name, item.value, outside_cause(left, item.value), f"is {seen}")


def _state(item: Sysctl, situation: Situation) -> str:
    left = situation.left(item)
    was = Kept.of(left[0]).was if left else VALUES.of(situation.observed).get(item.name, "")
    return str(Kept(item.value, was))


def _before(entry: Entry, observed: Observed) -> str:
    value = VALUES.of(observed).get(entry.name, "")
    return str(Kept(value, value))


def _gone(left: Sequence[Entry]) -> str:
    was = Kept.of(left[-1]).was
    return str(Kept(was, was))


def _removed(left: Sequence[Entry], situation: Situation) -> Iterator[Action]:
    name, before = left[-1].name, Kept.of(left[-1]).was
    if VALUES.of(situation.observed).get(name) != before:
        yield SetSysctl(name, before, "undeclared", "no longer declared; restores the previous value")


def _drift(left: Sequence[Entry], _wanted: Sysctl | None, observed: Observed) -> Difference | None:
    value = VALUES.of(observed).get(left[-1].name, "")
    if value in {Kept.of(entry).value for entry in left}:
        return None
    return Difference(f"is {value}, not {Kept.of(left[-1]).value}")


SYSCTL = Kind[Sysctl](
    name="sysctl",
    resource=Sysctl,
    folder=None,
    looks=(Look(("sysctl",), _ask, _read),),
    guards=no_guards,
    rank=Rank.SETTINGS,
    compare=_compare,
    remembered=Remembered[Sysctl](
        state=_state,
        found=never_found,
        before=_before,
        gone=_gone,
        removed=_removed,
        leaves=Leaves.SETTINGS,
        drift=_drift,
    ),
    functions="sysctl",
)
