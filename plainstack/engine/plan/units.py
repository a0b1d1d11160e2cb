"""A unit against what was observed: what it owes, from its state and from the stamps of what it was loaded with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plainstack.engine.observed import Entry, Observed, UnitState
from plainstack.engine.plan.actions import Action, DaemonReload, UnitAction
from plainstack.engine.plan.compare import outside_cause, unit_state
from plainstack.engine.resources import Resource, Unit
from plainstack.engine.stamps import DAEMON_RELOAD, inputs, is_unit_file, reloads, stamp_without, unit_stamp


def daemon_reload(role: str, wanted: Sequence[Resource], observed: Observed, touched: set[str]) -> list[Action]:
    """Let systemd read unit files that it has not."""
    stamp = reloads(wanted)
    kept = observed.stamps.get(f"{DAEMON_RELOAD}.{role}", reloads(()))
    if stamp == kept and not any(is_unit_file(path) for path in touched):
        return []
    changing = any(is_unit_file(path) for path in touched)
    return [DaemonReload(stamp, "changed" if changing else "owed")]


def unit_actions(
    unit: Unit,
    ours: Mapping[str, Sequence[Entry]],
    everything: Sequence[Resource],
    observed: Observed,
    rewritten: frozenset[str],
) -> list[Action]:
    """Enable, start, restart, reload or stop a unit, and why."""
    seen = observed.units.get(unit.name, UnitState())
    wanted = unit_stamp(unit, everything)
    kept = observed.stamps.get(unit.name, "")
    outside = outside_cause(unit.key, ours, unit_state(unit))
    actions: list[Action] = []
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
    to_restart = inputs(unit, everything, reload=False) & rewritten
    to_reload = inputs(unit, everything) & rewritten
    kept_restart, _, kept_reload = kept.partition(" ")
    want_restart, _, want_reload = wanted.partition(" ")
    # "-" and nothing kept both mean: no input that only a restart makes it read.
    if to_restart or (kept_restart or "-") != (want_restart or "-"):
        detail = _first(to_restart, "was not restarted since its inputs changed")
        actions.append(UnitAction("restart", unit, "changed" if to_restart else "owed", detail, wanted))
    elif to_reload or kept_reload != want_reload:
        detail = _first(to_reload, "was not reloaded since its inputs changed")
        actions.append(UnitAction("reload", unit, "changed" if to_reload else "owed", detail, wanted))
    elif unit.intact and not observed.guards.get(unit.name, False):
        actions.append(UnitAction("reload", unit, "drift", "its live state is not what it loaded", wanted))
    return actions


def _first(paths: frozenset[str], otherwise: str) -> str:
    ordered = sorted(paths)
    if not ordered:
        return otherwise
    return f"{ordered[0]} changes" + (f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else "")


def stale_stamps(
    role: str,
    wanted: Sequence[Resource],
    ours: Mapping[str, Sequence[Entry]],
    everything: Sequence[Resource],
    observed: Observed,
    touched: set[str],
) -> dict[str, str]:
    """The kept stamps that are not true any more once a transaction has begun, with what is true until its end."""
    if not touched and not ours:
        return {}
    units = {item.name: item for item in everything if isinstance(item, Unit)}
    gone = {entry.name for same in ours.values() for entry in same if entry.kind == "unit"} - units.keys()
    stale = {name: "" for name in gone if name in observed.stamps}
    for name, unit in units.items():
        if touched and name in observed.stamps and inputs(unit, everything) & touched:
            stale[name] = stamp_without(unit, everything, touched, observed.stamps[name])
    reread = f"{DAEMON_RELOAD}.{role}"
    if any(is_unit_file(path) for path in touched) and (reread in observed.stamps or not reloads(wanted)):
        stale[reread] = "?"
    return stale
