"""systemd's units: whether they run, start at boot, and have read what they must be loaded with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plainstack.engine.kinds.action import Action, Rank
from plainstack.engine.kinds.kind import Difference, Kind, Leaves, Remembered, Resource, Situation, outside_cause
from plainstack.engine.kinds.origin import gone
from plainstack.engine.kinds.unit_actions import UnitAction
from plainstack.engine.kinds.unit_look import PORTS, UNITS
from plainstack.engine.listeners import Listen
from plainstack.engine.observed import FOUND, Entry, Observed, UnitState
from plainstack.engine.stamps import inputs, unit_stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit(Resource):
    """A systemd unit with its wanted state and the inputs it must have been loaded with.

    `reload_on` and `restart_on` name inputs: a managed file's path stands for that file's content, mode and owner, a
    path ending in / for all managed files below it, anything else is a literal token. The host keeps the hash of the
    inputs the unit was last loaded with; a difference is an owed reload or restart, whenever it arose. The unit's own
    file and drop-ins under /etc/systemd/system count as `restart_on` without being named.

    `health` is a shell command awaited after every start, reload or restart, at most `timeout` seconds; when it
    does not come true the whole transaction is rolled back. The ports in `listens` must then be held by the unit's
    own processes; a port that another program holds is refused before anything changes. `intact` is a shell command
    evaluated by every probe; when it fails a reload is owed. `guarded` arms the lock-out guard: the host itself
    rolls the transaction back unless a new connection confirms; `snapshot` and `restore` are shell commands that
    save and bring back kernel state that no file holds, with a directory in $KEEP.
    """

    name: str
    enabled: bool = True
    running: bool = True
    reload_on: tuple[str, ...] = ()
    restart_on: tuple[str, ...] = ()
    health: str = ""
    listens: tuple[Listen, ...] = ()
    intact: str = ""
    timeout: int = 30
    guarded: bool = False
    snapshot: str = ""
    restore: str = ""

    @property
    def key(self) -> str:
        return f"unit {self.name}"


_LIVE = "its live state is not what it loaded"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the manifest keeps of a unit."""

    enabled: bool
    running: bool

    @classmethod
    def of(cls, entry: Entry) -> Kept:
        enabled, _, running = entry.state.partition(",")
        return cls(enabled == "enabled", running == "running")

    @classmethod
    def wanted(cls, unit: Unit) -> Kept:
        return cls(unit.enabled, unit.running)

    def __str__(self) -> str:
        return f"{'enabled' if self.enabled else 'disabled'},{'running' if self.running else 'stopped'}"

    def became(self, seen: UnitState) -> str:
        """What is different about it now, for people."""
        changes = []
        if self.enabled and seen.file in ("disabled", "masked", ""):
            changes.append(f"was enabled, is {seen.file or 'gone'}")
        if not self.enabled and seen.file == "enabled":
            changes.append("was disabled, is enabled")
        if self.running and seen.active != "active":
            changes.append(f"was running, is {seen.active}")
        if not self.running and seen.active == "active":
            changes.append("was stopped, is running")
        return ", ".join(changes)


def _compare(unit: Unit, situation: Situation) -> list[UnitAction]:
    """Enable, start, restart, reload or stop a unit, and why."""
    seen = situation.observed.units.get(unit.name, UnitState())
    wanted = unit_stamp(unit, situation.everything)
    kept = situation.observed.stamps.get(unit.name, "")
    outside = outside_cause({entry.state for entry in situation.left(unit)}, str(Kept.wanted(unit)))
    actions: list[UnitAction] = []
    enabled = seen.file not in ("disabled", "masked", "masked-runtime", "")
    if unit.enabled and not enabled:
        actions.append(UnitAction("enable", unit, outside, f"is {seen.file or 'unknown'}"))
    if not unit.enabled and unit.running and seen.file == "masked":
        actions.append(UnitAction("unmask", unit, outside, "is masked"))
    if not unit.enabled and seen.file in ("enabled", "enabled-runtime"):
        actions.append(UnitAction("disable", unit, outside, "is enabled"))
    if not unit.running:
        if seen.active not in ("inactive", "failed"):
            actions.append(UnitAction("stop", unit, outside, f"is {seen.active}"))
        return actions
    if seen.active != "active":
        actions.append(UnitAction("start", unit, outside, f"is {seen.active}", wanted))
        return actions
    to_restart = inputs(unit, situation.everything, reload=False) & situation.rewritten
    to_reload = inputs(unit, situation.everything) & situation.rewritten
    kept_restart, _, kept_reload = kept.partition(" ")
    want_restart, _, want_reload = wanted.partition(" ")
    # "-" and nothing kept both mean: no input that only a restart makes it read.
    if to_restart or (kept_restart or "-") != (want_restart or "-"):
        detail = _first(to_restart, "was not restarted since its inputs changed")
        actions.append(UnitAction("restart", unit, "changed" if to_restart else "owed", detail, wanted))
    elif to_reload or kept_reload != want_reload:
        detail = _first(to_reload, "was not reloaded since its inputs changed")
        actions.append(UnitAction("reload", unit, "changed" if to_reload else "owed", detail, wanted))
    elif unit.intact and not situation.observed.guards.get(unit.name, False):
        actions.append(UnitAction("reload", unit, "drift", _LIVE, wanted))
    return actions


def _first(paths: frozenset[str], otherwise: str) -> str:
    ordered = sorted(paths)
    if not ordered:
        return otherwise
    return f"{ordered[0]} changes" + (f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else "")


def _intact(unit: Unit) -> Mapping[str, str]:
    return {unit.name: unit.intact} if unit.intact else {}


def _state(unit: Unit, situation: Situation) -> str:  # noqa: ARG001
    return str(Kept.wanted(unit))


def _found(unit: Unit, observed: Observed) -> bool:
    return is_up(observed.units.get(unit.name))


def is_up(seen: UnitState | None) -> bool:
    """Whether a unit runs, and will after a boot."""
    return seen is not None and seen.active == "active" and seen.file not in ("", "disabled", "masked")


def _before(entry: Entry, observed: Observed) -> str:
    seen = observed.units.get(entry.name, UnitState())
    return str(Kept(seen.file == "enabled", seen.active == "active"))


def _removed(left: Sequence[Entry], situation: Situation) -> Iterator[Action]:
    entry = left[-1]
    if entry.who == FOUND:
        return
    unit = Unit(name=entry.name, enabled=False, running=False)
    seen = situation.observed.units.get(entry.name, UnitState())
    if seen.active not in ("inactive", "failed"):
        yield UnitAction("stop", unit, "undeclared", "no longer declared")
    if seen.file in ("enabled", "enabled-runtime"):
        yield UnitAction("disable", unit, "undeclared", "no longer declared")


def _drift(left: Sequence[Entry], wanted: Unit | None, observed: Observed) -> Difference | None:
    name, seen = left[-1].name, observed.units.get(left[-1].name, UnitState())
    # Where a run was interrupted either may be so.
    what = "" if len({entry.state for entry in left}) > 1 else Kept.of(left[-1]).became(seen)
    loaded = wanted is not None and wanted.intact and name in observed.stamps and seen.active == "active"
    if loaded and not observed.guards.get(name, False):
        what = f"{what}, {_LIVE}" if what else _LIVE
    return Difference(what, stopped_since(name, seen)) if what else None


def stopped_since(name: str, seen: UnitState) -> str:
    """Shell text that prints since when a unit does not run, in seconds; "" of one that does."""
    asked = f"systemctl show -p InactiveEnterTimestamp --value {shlex.quote(name)}"
    since = f't=$({asked}); [ -z "$t" ] || date -d "$t" +%s'
    return since if seen.active == "inactive" else ""


UNIT = Kind[Unit](
    name="unit",
    resource=Unit,
    folder=None,
    looks=(UNITS, PORTS),
    guards=_intact,
    rank=Rank.AS_NAMED,
    compare=_compare,
    remembered=Remembered[Unit](
        state=_state,
        found=_found,
        before=_before,
        gone=gone,
        removed=_removed,
        leaves=Leaves.UNITS,
        drift=_drift,
    ),
    functions="units",
)
