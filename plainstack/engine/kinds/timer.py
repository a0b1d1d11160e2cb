"""systemd timers: the unit file and its state as one resource."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause, Rank
from plainstack.engine.kinds.kind import Difference, Kind, Leaves, Remembered, Resource, Situation, no_guards
from plainstack.engine.kinds.path_actions import Forget, Put
from plainstack.engine.kinds.path_look import PATHS
from plainstack.engine.kinds.path_resources import File
from plainstack.engine.kinds.path_state import ABSENT, Left
from plainstack.engine.kinds.paths import is_replaced, path_cause, path_drift, seen_state, state_of
from plainstack.engine.kinds.unit import Kept, is_up, stopped_since
from plainstack.engine.kinds.unit_look import UNITS
from plainstack.engine.observed import FOUND, Entry, Observed, PathState, UnitState
from plainstack.engine.transaction.bundle import Bundle

_FOLDER = "/etc/systemd/system/"
_FILE = """\
# managed by plainstack
[Timer]
OnCalendar={calendar}
Unit={unit}
Persistent={persistent}
RandomizedDelaySec={spread}
{accuracy}[Install]
WantedBy=timers.target
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer(Resource):
    """A timer that starts `unit`, by default the service with its name, at the times in `calendar` (systemd.time(7)).

    The timer is always enabled and running. With `persistent`, a run that was missed while the host was off takes place
    after the next boot. `spread` is the maximum random delay in seconds, so that not all hosts start at once.
    `accuracy` is how many seconds later systemd may start the unit, so that it can start several units at once.
    """

    name: str
    calendar: str
    unit: str = ""
    persistent: bool = True
    spread: int = 0
    accuracy: int = 60

    @property
    def key(self) -> str:
        return f"timer {self.name}"

    @property
    def path(self) -> str:
        return f"{_FOLDER}{self.name}"

    @property
    def file(self) -> File:
        content = _FILE.format(
            calendar=self.calendar,
            unit=self.unit or _started(self.name),
            persistent="yes" if self.persistent else "no",
            spread=self.spread,
            accuracy="" if self.accuracy == 60 else f"AccuracySec={self.accuracy}s\n",
        )
        return File(path=self.path, content=content.encode())


@dataclass(frozen=True, slots=True)
class SetTimer(Action):
    """Write a timer's file, enable the timer, and restart it with the new settings."""

    timer: Timer
    cause: Cause
    detail: str
    seen: PathState | None

    counted: ClassVar[str] = "timer"

    def subject(self) -> str:
        return f"set {self.timer.name} = {self.timer.calendar}"

    @property
    def new_file(self) -> File | None:
        return self.timer.file

    def shade(self, number: str) -> str:
        return shlex.join(self.timer.file.shade(number))

    def steps(self, number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "set_timer", number, self.timer.name, self.timer.file.sha256)

    @property
    def asks(self) -> str:
        return Put(self.timer.file, self.cause, self.seen).asks

    def diff(self, old: Mapping[str, bytes]) -> list[str]:
        return Put(self.timer.file, self.cause, self.seen).diff(old)


@dataclass(frozen=True, slots=True)
class RemoveTimer(Action):
    """Stop a timer and remove its file; `stops` is true if what the timer starts stays, as after `inv stop`."""

    name: str
    cause: Cause = "undeclared"
    stops: bool = False

    counted: ClassVar[str] = "removal"

    @property
    def detail(self) -> str:
        return f"no longer starts {_started(self.name)}" if self.stops else "no longer declared"

    def subject(self) -> str:
        return f"{'stop' if self.stops else 'remove'} {self.name}"

    def shade(self, _number: str) -> str:
        return shlex.join(["shade_remove", f"{_FOLDER}{self.name}"])

    def steps(self, number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "remove_timer", number, self.name)


def _started(name: str) -> str:
    """Return the unit that a timer starts if it names no other."""
    return f"{name.removesuffix('.timer')}.service"


def _compare(item: Timer, situation: Situation) -> Iterator[Action]:
    observed, wanted = situation.observed, item.file.wanted()
    seen, there = seen_state(observed, item.path), observed.paths.get(item.path)
    unit = observed.units.get(item.name, UnitState())
    left = {Left.of(entry).state for entry in situation.left(item)}
    if seen != wanted:
        yield SetTimer(item, path_cause(left, seen, wanted), Put(item.file, "changed", there).detail, there)
    elif not is_up(unit):
        what = Kept(enabled=True, running=True).became(unit) or f"is {unit.file}"
        yield SetTimer(item, "drift" if left == {wanted} else path_cause(left, seen, wanted), what, there)
    elif _is_ours(situation.left(item)) and observed.stamps.get(item.name, "") != item.file.sha256:
        yield SetTimer(item, "owed", "was not restarted since its file changed", there)


def _is_ours(left: Sequence[Entry]) -> bool:
    return any(entry.who != FOUND for entry in left)


def _state(item: Timer, _situation: Situation) -> str:
    return state_of(item.file)


def _found(item: Timer, observed: Observed) -> bool:
    return seen_state(observed, item.path) == item.file.wanted() and is_up(observed.units.get(item.name))


def _before(entry: Entry, observed: Observed) -> str:
    seen = seen_state(observed, f"{_FOLDER}{entry.name}")
    return entry.state if seen == Left.of(entry).state else str(seen)


def _gone(_left: Sequence[Entry]) -> str:
    return str(ABSENT)


def _removed(left: Sequence[Entry], situation: Situation) -> Iterator[Action]:
    entry, path = left[-1], f"{_FOLDER}{left[-1].name}"
    seen = seen_state(situation.observed, path)
    if is_replaced(entry, path, situation):
        return
    if seen in {Left.of(one).state for one in left if one.who != FOUND}:
        started = f"{_FOLDER}{_started(entry.name)}"
        stays = any(isinstance(item, File) and item.path == started for item in situation.everything)
        yield RemoveTimer(entry.name, stops=stays)
    elif seen != ABSENT:
        yield Forget(entry, "no longer declared, and changed outside Plainstack")


def _drift(left: Sequence[Entry], wanted: Resource | None, observed: Observed) -> Difference | None:
    name = left[-1].name
    now = wanted.file.wanted() if isinstance(wanted, Timer) else None
    found = path_drift(f"{_FOLDER}{name}", left, now, observed)
    # After an interrupted run, either state is expected.
    if found or len({entry.state for entry in left}) > 1:
        return found
    unit = observed.units.get(name, UnitState())
    what = Kept(enabled=True, running=True).became(unit)
    return Difference(what, stopped_since(name, unit)) if what else None


TIMER = Kind[Timer](
    name="timer",
    resource=Timer,
    folder=_FOLDER,
    looks=(PATHS, UNITS),
    guards=no_guards,
    rank=Rank.AS_NAMED,
    compare=_compare,
    remembered=Remembered[Timer](
        state=_state,
        found=_found,
        before=_before,
        gone=_gone,
        removed=_removed,
        leaves=Leaves.UNITS,
        drift=_drift,
    ),
    functions="timer",
)
