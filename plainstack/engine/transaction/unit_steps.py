"""Unit actions -> steps: adjacent units share one enable step, and one pause to see whether they stay up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from plainstack.dataclass import dataclass
from plainstack.engine.listeners import hexadecimal
from plainstack.engine.plan.actions import Action, DaemonReload, UnitAction
from plainstack.engine.transaction.bundle import Bundle

_LOADS = ("start", "restart", "reload")


@dataclass(frozen=True, slots=True)
class Switch:
    """Enable, disable or unmask several units in one call.

    With `reread_later`, a later step of the transaction runs daemon-reload, so this one does not.
    """

    verb: Literal["enable", "disable", "unmask"]
    units: tuple[str, ...]
    reread_later: bool

    def subject(self) -> str:
        return f"{self.verb} {', '.join(self.units)}"

    def steps(self, _number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "switch_units", self.verb, "later" if self.reread_later else "now", *self.units)


@dataclass(frozen=True, slots=True)
class Load:
    """Start, restart or reload units in order.

    Several units share a step only if they have neither a health command nor ports to await: one pause then shows
    whether all of them stay up.
    """

    actions: tuple[UnitAction, ...]

    def subject(self) -> str:
        if len(self.actions) == 1:
            return self.actions[0].subject()
        # The subject names the units in the order in which they are loaded.
        verbs = groupby(self.actions, key=lambda action: action.verb)
        return "units: " + "; ".join(f"{verb} {', '.join(action.unit.name for action in same)}" for verb, same in verbs)

    @property
    def pauses(self) -> bool:
        """Whether the step ends with a pause that shows whether the units stay up."""
        return _only_stays_up(self.actions[0])

    def steps(self, number: str, bundle: Bundle) -> None:
        words = [
            word
            for action in self.actions
            for word in (action.verb, action.unit.name, action.stamp, str(action.unit.timeout))
        ]
        if self.pauses:
            bundle.step(self.subject(), "load_units", *words)
            return
        unit = self.actions[0].unit
        health = bundle.file(f"health.{number}", unit.health + "\n") if unit.health else ""
        bundle.step(self.subject(), "load_unit", *words, health, *awaited_ports(self.actions[0]))


Part = Action | Switch | Load


def arrange(actions: Sequence[Action]) -> list[Part]:
    """Return the actions as steps in the same order, except for the verbs enable, disable and unmask.

    Within a run of adjacent unit actions, units are enabled before the first is started and disabled after the last is
    stopped. If a daemon-reload directly precedes the run, these steps move before it and rely on it. Otherwise each of
    them runs its own daemon-reload, unless the transaction has a later one.
    """
    rereads = [number for number, action in enumerate(actions) if isinstance(action, DaemonReload)]
    parts: list[Part] = []
    for number, run in _runs(actions):
        if not isinstance(run[0], UnitAction):
            parts += run
            continue
        units = [action for action in run if isinstance(action, UnitAction)]
        reread = parts.pop() if parts and isinstance(parts[-1], DaemonReload) else None
        later = reread is not None or any(other > number for other in rereads)
        switched = {verb: _switch(verb, units, later) for verb in ("unmask", "enable", "disable")}
        before = [*switched["unmask"], *switched["enable"]]
        parts += [*before, *switched["disable"], reread] if reread else before
        parts += _loads(action for action in units if action.verb in ("stop", *_LOADS))
        if not reread:
            parts += switched["disable"]
    return parts


def _runs(actions: Sequence[Action]) -> Iterator[tuple[int, list[Action]]]:
    number = 0
    for _, same in groupby(actions, key=lambda action: isinstance(action, UnitAction)):
        run = list(same)
        yield number, run
        number += len(run)


def _switch(verb: Literal["enable", "disable", "unmask"], units: Sequence[UnitAction], later: bool) -> list[Part]:
    names = tuple(action.unit.name for action in units if action.verb == verb)
    return [Switch(verb, names, later)] if names else []


def _loads(actions: Iterable[UnitAction]) -> Iterator[Part]:
    for together, same in groupby(actions, key=_only_stays_up):
        if together:
            yield Load(tuple(same))
        else:
            for action in same:
                yield action if action.verb == "stop" else Load((action,))


def _only_stays_up(action: UnitAction) -> bool:
    return action.verb in _LOADS and not action.unit.health and not awaited_ports(action)


def awaited_ports(action: UnitAction) -> list[str]:
    """Return the ports that the unit must hold before it counts as healthy, in the format of the host's script.

    Adopted ports are left out: another process, such as a socket unit, may hold them for the unit.
    """
    return hexadecimal(listen for listen in action.unit.listens if not listen.adopted)
