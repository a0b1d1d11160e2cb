"""What a host remembers of a role: the entries that a plan leaves, and those that hold while it is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from plainstack.engine.observed import PURGE, Entry, Observed, UnitState
from plainstack.engine.plan.compare import FOUND, Stamp, is_served, seen_state, state_of, unit_state, user_state
from plainstack.engine.resources import Directory, File, Link, Package, Resource, Sysctl, Unit, User


def manifest_entries(
    wanted: Sequence[Resource], ours: Mapping[str, Sequence[Entry]], observed: Observed, stamp: Stamp
) -> Iterable[Entry]:
    """The role's manifest after this plan; entries whose state does not change keep their history."""
    for item in wanted:
        if isinstance(item, Directory):
            state = _directory_state(item, ours, observed)
        elif isinstance(item, File | Link):
            state = state_of(item)
        elif isinstance(item, Unit):
            state = unit_state(item)
        elif isinstance(item, User):
            state = user_state(item, ours, observed)
        elif isinstance(item, Sysctl):
            was = [entry.state.partition(" was ")[2] for entry in ours.get(item.key, ())]
            state = f"{item.value} was {was[0] if was else observed.sysctls.get(item.name, '')}"
        elif isinstance(item, Package):
            if item.name not in observed.packages and is_served(item, observed):
                continue
            state = "purge" if item.purge else "keep"
        else:
            continue
        kept = [entry for entry in ours.get(item.key, ()) if entry.state == state]
        kind, _, name = item.key.partition(" ")
        # What was there before us, just as we want it, is not ours to remove or to stop later.
        found = item.key not in ours and (
            (isinstance(item, File | Directory | Link) and seen_state(observed.paths.get(name)) == state_of(item))
            or (isinstance(item, Unit) and _runs_already(observed.units.get(name)))
        )
        store = stamp.store if isinstance(item, File) and item.secret else ""
        by = FOUND if found else stamp.who
        yield kept[0] if kept else Entry(kind, name, state, stamp.when, by, stamp.commit, store)


def _directory_state(item: Directory, ours: Mapping[str, Sequence[Entry]], observed: Observed) -> str:
    """With what becomes of it on removal: what lay in it before Plainstack came is not Plainstack's to remove."""
    before = ours.get(item.key)
    if not before:
        made = item.path not in observed.paths
    else:
        noted = any(entry.purge for entry in before)
        made = noted or (observed.guards.get(item.key, False) and all(entry.who != FOUND for entry in before))
    return state_of(item) + (PURGE if item.purge and made else "")


def _runs_already(unit: UnitState | None) -> bool:
    return unit is not None and unit.active == "active" and unit.file not in ("", "disabled", "masked")


def entries_between(
    entries: Iterable[Entry], ours: Mapping[str, Sequence[Entry]], observed: Observed
) -> Iterator[Entry]:
    """What a run that is killed half way may leave besides the old and the new: what was there before us of the things
    that become ours, and nothing of the things that go."""
    wanted = {entry.key: entry for entry in entries}
    for entry in wanted.values():
        state = _before(entry, observed) if entry.key not in ours else entry.path_state
        if state != entry.path_state:
            yield replace(entry, state=state, who=FOUND, store="")
    for key, same in ours.items():
        if key not in wanted:
            was = same[-1].state.partition(" was ")[2]
            yield replace(same[-1], state=f"{was} was {was}" if same[-1].kind == "sysctl" else "absent", who=FOUND)


def _before(entry: Entry, observed: Observed) -> str:
    if entry.kind in ("file", "directory", "link"):
        return seen_state(observed.paths.get(entry.name))
    if entry.kind == "user":
        return "found" if entry.name in observed.users else "absent"
    if entry.kind == "package":
        return entry.state if entry.name in observed.packages else "absent"
    if entry.kind == "unit":
        seen = observed.units.get(entry.name, UnitState())
        return unit_state(Unit(name=entry.name, enabled=seen.file == "enabled", running=seen.active == "active"))
    if entry.kind == "sysctl":
        value = observed.sysctls.get(entry.name, "")
        return f"{value} was {value}"
    return entry.state
