"""(desired, observed, before) -> the plan that removes Plainstack from a host: a plan whose desired state is empty.

What was there before Plainstack stays: its units are reloaded without the files of Plainstack, and its files come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from plainstack.engine.kinds.action import Action
from plainstack.engine.kinds.package import PURGE
from plainstack.engine.kinds.path_actions import Forget, Remove, Restore
from plainstack.engine.kinds.timer import RemoveTimer
from plainstack.engine.kinds.unit import Kept
from plainstack.engine.kinds.unit_actions import StopOthers, UnitAction
from plainstack.engine.observed import FOUND, Entry, Observed
from plainstack.engine.plan.actions import HostPlan, Transaction
from plainstack.engine.plan.author import Stamp
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import File, Link, Package, Resource, Unit
from plainstack.engine.sayings import Leftover
from plainstack.engine.teardown.before import Before
from plainstack.engine.teardown.farewell import Farewell

Desired = Mapping[str, Sequence[Resource]]
_UNITS = "/etc/systemd/system/"
# They start other units, so they are stopped first.
_STARTERS = (".timer", ".socket", ".path")


def teardown(
    host: str,
    desired: Desired,
    observed: Observed,
    before: Before,
    leftovers: Sequence[Leftover],
    stamp: Stamp,
    *,
    data: bool,
) -> HostPlan:
    """Return the plan; it is empty if nothing of Plainstack is on the host but what the operator wants to keep.

    `desired` holds the declared resources of the host. They decide the order of the roles, and which changes could lock
    the operator out; what is removed follows from the host's manifest.
    """
    declared = {item.key: item for items in desired.values() for item in items}
    stays = {role: _stays(observed.manifest[role], declared) for role in _order(desired, observed, declared)}
    found = plan(host, stays, observed, stamp)
    work = tuple(_adapted(one, observed, declared, before) for one in found.transactions)
    return HostPlan(host, None, work, _farewell(declared, observed, before, leftovers, data=data))


def _order(desired: Desired, observed: Observed, declared: Mapping[str, Resource]) -> list[str]:
    """Return the roles of a host in the order of their removal: users before what they use, the packet filter last."""
    lost = sorted(role for role in observed.manifest if role not in desired)
    known = [role for role in reversed([*desired]) if role in observed.manifest]
    last = [role for role in known if _closes(observed.manifest[role], declared)]
    return [*lost, *(role for role in known if role not in last), *last]


def _closes(entries: Sequence[Entry], declared: Mapping[str, Resource]) -> bool:
    """Return whether Plainstack brought a unit that could lock the operator out."""
    return any(_guarded(entry, declared) and _has_own_file(entry, entries) for entry in entries)


def _guarded(entry: Entry, declared: Mapping[str, Resource]) -> bool:
    unit = declared.get(entry.key)
    return isinstance(unit, Unit) and unit.guarded


def _has_own_file(unit: Entry, entries: Sequence[Entry]) -> bool:
    return any(entry.kind == "file" and entry.name == f"{_UNITS}{unit.name}" for entry in entries)


def _stays(entries: Sequence[Entry], declared: Mapping[str, Resource]) -> tuple[Resource, ...]:
    """Return the units that stay, without our inputs: those that ran before Plainstack, and those that log-ins need."""
    last = {entry.key: entry for entry in entries if entry.kind == "unit"}
    return tuple(
        Unit(
            name=entry.name,
            enabled=Kept.of(entry).enabled,
            running=Kept.of(entry).running,
            guarded=_guarded(entry, declared),
        )
        for entry in last.values()
        if entry.who == FOUND or (_guarded(entry, declared) and not _has_own_file(entry, entries))
    )


def _adapted(work: Transaction, observed: Observed, declared: Mapping[str, Resource], before: Before) -> Transaction:
    """Return the removal of a role: what starts units stops first, and originals come back."""
    actions = [_adapted_action(action, declared, before) for action in work.actions]
    stops = [action for action in actions if _stops(action)]
    others = _others(observed.manifest.get(work.role, ()), [*actions])
    rest = [action for action in actions if not _stops(action)]
    first = [action for action in stops if _starter(action)]
    stops = [*first, *(action for action in stops if action not in first)]
    guarded = any(isinstance(action, UnitAction) and action.unit.guarded for action in actions)
    return replace(work, actions=(*stops, *others, *rest), guarded=guarded)


def _adapted_action(action: Action, declared: Mapping[str, Resource], before: Before) -> Action:
    if isinstance(action, UnitAction):
        unit = declared.get(action.unit.key)
        if isinstance(unit, Unit) and action.verb in ("stop", "disable"):
            # As a stop changes it, its live state must be saved for an undo.
            saved = replace(action.unit, timeout=unit.timeout, snapshot=unit.snapshot, restore=unit.restore)
            return replace(action, unit=replace(saved, guarded=unit.guarded))
        return action
    if isinstance(action, Forget):
        found = action.entry.who == FOUND
        return replace(action, detail="it was there before Plainstack") if found else action
    if isinstance(action, Remove) and not action.folder:
        if action.path in before.originals:
            return Restore(action.path)
        item = declared.get(f"{action.kind} {action.path}")
        if isinstance(item, File | Link) and item.vital:
            entry = Entry(action.kind, action.path, "")
            return Forget(entry, "a host needs it, and this one does not know what was there before Plainstack")
    return action


def _stops(action: Action) -> bool:
    return isinstance(action, RemoveTimer) or (isinstance(action, UnitAction) and action.cause == "undeclared")


def _starter(action: Action) -> bool:
    return isinstance(action, RemoveTimer) or (
        isinstance(action, UnitAction) and action.verb == "stop" and action.unit.name.endswith(_STARTERS)
    )


def _others(entries: Sequence[Entry], actions: Sequence[Action]) -> Iterator[Action]:
    """Yield the stop of services whose files go and that are no units of the role: timers and sockets start them."""
    going = [action.path.removeprefix(_UNITS) for action in actions if isinstance(action, Remove)]
    units = {entry.name for entry in entries if entry.kind == "unit"}
    names = [name for name in going if name.endswith(".service") and "/" not in name and name not in units]
    if names:
        yield StopOthers(tuple(name.replace("@.", "@*.") for name in names))


def _farewell(
    declared: Mapping[str, Resource],
    observed: Observed,
    before: Before,
    leftovers: Sequence[Leftover],
    *,
    data: bool,
) -> Farewell | None:
    """Return the last transaction; None if there is nothing left to remove."""
    made = dict.fromkeys([*before.names("package"), *_purged_by_deploys(observed)])
    there = [one for one in leftovers if one.path in before.sizes and _is_ours(one, before, made)]
    stays = tuple(one for one in there if one.data and not data)
    kept = [pattern for one in stays for pattern in one.packages]
    holding = [name for name in made if any(fnmatchcase(name, pattern) for pattern in kept)]
    remove = tuple(name for name in holding if before.packages.get(name))
    purge = tuple(name for name in made if name in before.packages and name not in holding)
    paths = tuple(one for one in there if one not in stays)
    if not before.deployed and not (purge or paths):
        return None
    asked = {item.name for item in declared.values() if isinstance(item, Package)}
    return Farewell(
        purge=purge,
        remove=remove,
        users=before.names("user"),
        groups=before.names("group"),
        # A folder before the one that holds it.
        folders=tuple(sorted(before.names("folder"), reverse=True)),
        paths=paths,
        stays=stays,
        unknown=() if before.complete else tuple(sorted(name for name in asked - {*made} if before.packages.get(name))),
        data=data,
    )


def _is_ours(one: Leftover, before: Before, made: Iterable[str]) -> bool:
    """Return whether Plainstack filled a path: not if the package that did was on the host before."""
    if not before.deployed:
        return one.path in before.names("data")
    return not (one.packages and before.complete) or any(
        fnmatchcase(name, pattern) for name in made for pattern in one.packages
    )


def _purged_by_deploys(observed: Observed) -> Iterable[str]:
    """Return the packages that a deploy would purge if no role declared them."""
    return (
        entry.name
        for entries in observed.manifest.values()
        for entry in entries
        if entry.kind == "package" and entry.state == PURGE
    )
