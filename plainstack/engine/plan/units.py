"""The parts of a plan that concern all units of a role: daemon-reload and stale stamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plainstack.engine.observed import Entry, Observed
from plainstack.engine.plan.actions import Action, DaemonReload
from plainstack.engine.resources import Resource, Unit
from plainstack.engine.stamps import inputs, is_unit_file, reloads, reread_stamp, stamp_without


def daemon_reload(role: str, wanted: Sequence[Resource], observed: Observed, touched: set[str]) -> list[Action]:
    """Return a DaemonReload if systemd has not read the role's current unit files."""
    stamp = reloads(wanted)
    kept = observed.stamps.get(reread_stamp(role), reloads(()))
    if stamp == kept and not any(is_unit_file(path) for path in touched):
        return []
    changing = any(is_unit_file(path) for path in touched)
    return [DaemonReload(stamp, "changed" if changing else "owed")]


def stale_stamps(
    role: str,
    wanted: Sequence[Resource],
    ours: Mapping[str, Sequence[Entry]],
    everything: Sequence[Resource],
    observed: Observed,
    touched: set[str],
) -> dict[str, str]:
    """Return the stamps that a transaction makes stale, each with the stamp to record until the files are loaded."""
    if not touched and not ours:
        return {}
    units = {item.name: item for item in everything if isinstance(item, Unit)}
    gone = {entry.name for same in ours.values() for entry in same if entry.kind == "unit"} - units.keys()
    stale = {name: "" for name in gone if name in observed.stamps}
    for name, unit in units.items():
        if touched and name in observed.stamps and inputs(unit, everything) & touched:
            stale[name] = stamp_without(unit, everything, touched, observed.stamps[name])
    reread = reread_stamp(role)
    if any(is_unit_file(path) for path in touched) and (reread in observed.stamps or not reloads(wanted)):
        stale[reread] = "?"
    return stale
