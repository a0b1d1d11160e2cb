"""systemd units: whether they run, start at boot, and have loaded their current inputs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Rank
from plainstack.engine.kinds.kind import Difference, Kind, Leaves, Remembered, Resource, Situation, outside_cause
from plainstack.engine.kinds.origin import gone
from plainstack.engine.kinds.package import Package, is_served
from plainstack.engine.kinds.unit_actions import UnitAction
from plainstack.engine.kinds.unit_look import PORTS, UNITS
from plainstack.engine.listeners import Listen
from plainstack.engine.observed import FOUND, Entry, Observed, UnitState
from plainstack.engine.stamps import inputs, unit_stamp

HOPELESS = 78
"""The exit code of a health command whose answer will not change by waiting (EX_CONFIG in sysexits.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit(Resource):
    """A systemd unit with its desired state and the inputs it must have loaded.

    `reload_on` and `restart_on` name inputs. The path of a managed file stands for its content, mode and owner; a path
    that ends in / stands for all managed files below it; anything else is a literal token. The host records the hash
    of the inputs that the unit last loaded. While the current hash differs from it, a reload or restart is owed. The
    unit's own file and its drop-ins under /etc/systemd/system always count as `restart_on`.

    `health` is a shell command that must succeed within `timeout` seconds of every start, reload or restart; otherwise
    the whole transaction is rolled back. If it exits with HOPELESS, it is not tried again. Within the same time, the
    unit's own processes must hold the ports in `listens`; if another program holds one of them, the deploy is refused
    before anything changes. Every probe runs the shell command `intact`; if it fails, a reload is owed. `guarded` arms
    the lock-out guard: the host rolls the transaction back unless a new connection confirms it. `snapshot` and
    `restore` are shell commands that save and restore kernel state that no file holds; $KEEP names the directory for
    it. `in_use` are folders, with a / at the end, whose files the running unit opens by the names in its configuration:
    those that are no longer declared are removed after it has loaded its new configuration.
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
    in_use: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"unit {self.name}"


_LIVE = "its live state differs from what it loaded"


@dataclass(frozen=True, slots=True)
class Kept:
    """The manifest's state of a unit."""

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
        """Describe how the observed state differs from this one."""
        changes = []
        if self.enabled and seen.file in ("disabled", "masked", ""):
            changes.append(f"was enabled, is {seen.file or 'not installed'}")
        if not self.enabled and seen.file == "enabled":
            changes.append("was disabled, is enabled")
        if self.running and seen.active != "active":
            changes.append(f"was running, is {seen.active}")
        if not self.running and seen.active == "active":
            changes.append("was stopped, is running")
        return ", ".join(changes)


def _compare(unit: Unit, situation: Situation) -> list[UnitAction]:
    """Return the actions that bring a unit to its desired state, with their causes."""
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
    elif not unit.enabled and not seen.file and _installs(situation):
        # Packages enable their units. They do not start here: policy-rc.d forbids that.
        actions.append(UnitAction("disable", unit, "new", "may come with a package"))
    if not unit.running:
        if seen.active not in ("inactive", "failed"):
            actions.append(UnitAction("stop", unit, outside, f"is {seen.active}"))
        return actions
    if seen.active != "active":
        actions.append(UnitAction("start", unit, outside, f"is {seen.active}", wanted))
        return actions
    to_reload = inputs(unit, situation.everything) & situation.rewritten if situation.rewritten else frozenset()
    to_restart = inputs(unit, situation.everything, reload=False) & to_reload if to_reload else to_reload
    kept_restart, _, kept_reload = kept.partition(" ")
    want_restart, _, want_reload = wanted.partition(" ")
    # Both "-" and an empty stamp mean that the unit has no inputs that need a restart.
    if to_restart or (kept_restart or "-") != (want_restart or "-"):
        detail = _first(to_restart, "was not restarted since its inputs changed")
        actions.append(UnitAction("restart", unit, "changed" if to_restart else "owed", detail, wanted))
    elif to_reload or kept_reload != want_reload:
        detail = _first(to_reload, "was not reloaded since its inputs changed")
        actions.append(UnitAction("reload", unit, "changed" if to_reload else "owed", detail, wanted))
    elif unit.intact and not situation.observed.guards.get(unit.name, False):
        actions.append(UnitAction("reload", unit, "drift", _LIVE, wanted))
    return actions


def _installs(situation: Situation) -> bool:
    packages = (item for item in situation.everything if isinstance(item, Package))
    return any(not is_served(package, situation.observed) for package in packages)


def _first(paths: frozenset[str], otherwise: str) -> str:
    ordered = sorted(paths)
    if not ordered:
        return otherwise
    return f"{ordered[0]} changes" + (f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else "")


def _intact(unit: Unit) -> Mapping[str, str]:
    return {unit.name: unit.intact} if unit.intact else {}


def _state(unit: Unit, _situation: Situation) -> str:
    return str(Kept.wanted(unit))


def _found(unit: Unit, observed: Observed) -> bool:
    return is_up(observed.units.get(unit.name))


def is_up(seen: UnitState | None) -> bool:
    """Return whether a unit is running and starts at boot."""
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
    # After an interrupted run, either state is expected.
    what = "" if len({entry.state for entry in left}) > 1 else Kept.of(left[-1]).became(seen)
    loaded = wanted is not None and wanted.intact and name in observed.stamps and seen.active == "active"
    if loaded and not observed.guards.get(name, False):
        what = f"{what}, {_LIVE}" if what else _LIVE
    return Difference(what, stopped_since(name, seen)) if what else None


def stopped_since(name: str, seen: UnitState) -> str:
    """Return a shell script that prints when a unit stopped, in seconds since the epoch; "" if it is not inactive."""
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
