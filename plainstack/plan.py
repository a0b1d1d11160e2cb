"""(desired, observed) -> Plan: a pure comparison; absent means create, undeclared means remove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from plainstack.actions import (
    Action,
    Cause,
    DaemonReload,
    Forget,
    HostPlan,
    MakeUser,
    PackageTransaction,
    Put,
    Record,
    Remove,
    RemoveUser,
    Run,
    Transaction,
    UnitAction,
)
from plainstack.observed import Entry, Observed, PathState, UnitState
from plainstack.resources import (
    Absent,
    Command,
    Directory,
    File,
    Link,
    Package,
    Preseed,
    Resource,
    Unit,
    User,
    Validation,
)
from plainstack.stamps import DAEMON_RELOAD, inputs, is_unit_file, reloads, unit_stamp

Desired = Mapping[str, Sequence[Resource]]
"""What every role of one host wants, in the order the roles are applied."""


@dataclass(frozen=True)
class Stamp:
    """Who deploys, when and from which commit: written into manifests and audit logs, never compared."""

    when: str
    who: str
    commit: str


def plan(host: str, desired: Desired, observed: Observed, stamp: Stamp, scope: Iterable[str] | None = None) -> HostPlan:
    """What `host` lacks. `desired` holds all its roles; `scope` limits the plan to some of them, None means all.

    A role that the host once had and has no more loses its units and files, unless the scope is limited.
    """
    chosen = {role: wanted for role, wanted in desired.items() if scope is None or role in set(scope)}
    rewritten = _rewritten(chosen, observed)
    lost = [] if scope is not None else sorted(role for role in observed.manifest if role not in desired)
    transactions = [
        _transaction(role, chosen.get(role, ()), desired, observed, stamp, rewritten) for role in (*lost, *chosen)
    ]
    done = [transaction for transaction in transactions if transaction.actions]
    if observed.leftovers and not observed.guard_pending and not done and transactions:
        cleaning = Record(detail="an interrupted run left its staging behind")
        done = [replace(transactions[0], actions=(cleaning,))]
    return HostPlan(host=host, packages=_packages(chosen, observed), transactions=tuple(done))


def _packages(desired: Desired, observed: Observed) -> PackageTransaction | None:
    wanted = [item for resources in desired.values() for item in resources]
    names = dict.fromkeys(item.name for item in wanted if isinstance(item, Package))
    missing = tuple(name for name in names if name not in observed.packages)
    purge = tuple(
        entry.name
        for role, entries in observed.manifest.items()
        for entry in entries
        if entry.kind == "package" and entry.state == "purge" and role in desired and entry.name not in names
    )
    if not missing and not purge:
        return None
    return PackageTransaction(
        install=missing,
        purge=purge,
        early=tuple(item for item in wanted if isinstance(item, File) and item.early),
        preseeds=tuple(item for item in wanted if isinstance(item, Preseed) and item.package in missing),
    )


def _rewritten(desired: Desired, observed: Observed) -> frozenset[str]:
    """The paths that this plan will write: a unit that reads one of them is not what its stamp says any more."""
    return frozenset(
        item.path
        for resources in desired.values()
        for item in resources
        if isinstance(item, File | Link) and state_of(item) != _seen(observed.paths.get(item.path))
    )


def _transaction(
    role: str,
    wanted: Sequence[Resource],
    desired: Desired,
    observed: Observed,
    stamp: Stamp,
    rewritten: frozenset[str],
) -> Transaction:
    ours: dict[str, list[Entry]] = {}
    for entry in observed.manifest.get(role, ()):
        ours.setdefault(entry.key, []).append(entry)
    everything = [item for resources in desired.values() for item in resources]
    actions: list[Action] = []
    actions += _removals(ours, {item.key for item in everything}, observed)
    for item in wanted:
        if isinstance(item, User):
            actions += _user(item, ours, observed)
        elif isinstance(item, File | Directory | Link):
            actions += _path(item, ours, observed)
        elif isinstance(item, Absent) and item.path in observed.paths:
            kind = observed.paths[item.path].kind
            if kind != "directory":
                actions.append(Remove(item.path, kind, "changed", "must be absent"))
    touched = {action.resource.path for action in actions if isinstance(action, Put)}
    touched |= {action.path for action in actions if isinstance(action, Remove)}
    actions += _daemon_reload(role, wanted, observed, touched)
    for item in wanted:
        if isinstance(item, Unit):
            actions += _unit(item, ours, everything, observed, rewritten)
        elif isinstance(item, Command) and not observed.guards.get(item.name, False):
            actions.append(Run(item))
    entries = tuple(_entries(role, wanted, ours, observed, stamp))
    if not actions and {(e.key, e.state) for e in entries} != {(e.key, e.state) for es in ours.values() for e in es}:
        actions.append(Record())
    stale = tuple(
        sorted(
            unit.name
            for unit in everything
            if isinstance(unit, Unit) and unit.name in observed.stamps and inputs(unit, everything) & touched
        )
    )
    return Transaction(
        role=role,
        actions=tuple(actions),
        validations=tuple(
            item
            for item in wanted
            if isinstance(item, Validation) and any(path.startswith(item.reads) for path in touched)
        ),
        manifest=entries,
        transition=tuple(dict.fromkeys([*(e for es in ours.values() for e in es), *entries])),
        stale=stale,
        guarded=any(
            isinstance(action, UnitAction) and action.unit.guarded and action.verb in ("start", "restart", "reload")
            for action in actions
        ),
    )


def state_of(item: File | Directory | Link) -> str:
    """A wanted path's state, in the form that the manifest keeps and `_seen` gives."""
    if isinstance(item, File):
        return f"{item.sha256} {item.mode:04o} {item.owner}:{item.group}"
    if isinstance(item, Directory):
        return f"directory {item.mode:04o} {item.owner}:{item.group}"
    return f"-> {item.target}"


def _seen(path: PathState | None) -> str:
    if path is None:
        return "absent"
    if path.kind == "link":
        return f"-> {path.target}"
    what = path.sha256 if path.kind == "file" else path.kind
    return f"{what} {path.mode:04o} {path.owner}:{path.group}"


def _cause(key: str, ours: Mapping[str, Sequence[Entry]], seen: str, wanted: str) -> Cause:
    """Drift: what is there is not what we left. Otherwise what we left is not what is wanted now."""
    states = {entry.state for entry in ours.get(key, ())}
    if not states:
        return "new" if seen == "absent" else "changed"
    if seen not in states and seen != wanted:
        return "drift"
    return "interrupted" if len(states) > 1 else "changed"


def _path(item: File | Directory | Link, ours: Mapping[str, Sequence[Entry]], observed: Observed) -> list[Action]:
    wanted, found = state_of(item), observed.paths.get(item.path)
    seen = _seen(found)
    if seen == wanted:
        return []
    cause = _cause(item.key, ours, seen, wanted)
    same_content = (found is not None and (isinstance(item, Directory) and found.kind == "directory")) or (
        isinstance(item, File) and found is not None and found.sha256 == item.sha256
    )
    if found is None:
        detail = "missing"
    elif same_content:
        assert not isinstance(item, Link)
        detail = f"{found.mode:04o} {found.owner}:{found.group} -> {item.mode:04o} {item.owner}:{item.group}"
    elif isinstance(item, Link):
        detail = f"{seen} becomes -> {item.target}"
    else:
        detail = "content differs" if found.kind == "file" else f"is a {found.kind}"
    return [Put(item, cause, detail, attributes=same_content)]


def _user(user: User, ours: Mapping[str, Sequence[Entry]], observed: Observed) -> list[Action]:
    seen = observed.users.get(user.name)
    if seen is None:
        return [MakeUser(user, create=True, cause="drift" if user.key in ours else "new", detail="missing")]
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
    if not differing:
        return []
    cause: Cause = "drift" if user.key in ours else "changed"
    return [MakeUser(user, create=False, cause=cause, detail=f"{', '.join(differing)} differ")]


def _daemon_reload(role: str, wanted: Sequence[Resource], observed: Observed, touched: set[str]) -> list[Action]:
    stamp = reloads(wanted)
    kept = observed.stamps.get(f"{DAEMON_RELOAD}.{role}", reloads(()))
    if stamp == kept and not any(is_unit_file(path) for path in touched):
        return []
    changing = any(is_unit_file(path) for path in touched)
    return [DaemonReload(stamp, "changed" if changing else "owed")]


def _unit(
    unit: Unit,
    ours: Mapping[str, Sequence[Entry]],
    everything: Sequence[Resource],
    observed: Observed,
    rewritten: frozenset[str],
) -> list[Action]:
    seen = observed.units.get(unit.name, UnitState())
    wanted = unit_stamp(unit, everything)
    kept = observed.stamps.get(unit.name, "")
    known = unit.key in ours
    outside: Cause = "drift" if known else "new"
    actions: list[Action] = []
    enabled = seen.file not in ("disabled", "masked", "masked-runtime", "")
    if unit.enabled and not enabled and seen.file != "generated":
        actions.append(UnitAction("enable", unit, outside, f"is {seen.file or 'unknown'}"))
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
    if to_restart or kept_restart != want_restart:
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


def _removals(ours: Mapping[str, Sequence[Entry]], declared: set[str], observed: Observed) -> list[Action]:
    actions: list[Action] = []
    for key, entries in ours.items():
        if key in declared:
            continue
        entry = entries[-1]
        if entry.kind == "unit":
            unit = Unit(name=entry.name, enabled=False, running=False)
            seen = observed.units.get(entry.name, UnitState())
            if seen.active not in ("inactive", "failed"):
                actions.append(UnitAction("stop", unit, "undeclared", "no longer declared"))
            if seen.file in ("enabled", "enabled-runtime"):
                actions.append(UnitAction("disable", unit, "undeclared", "no longer declared"))
        elif entry.kind == "user":
            if entry.state == "created" and entry.name in observed.users:
                actions.append(RemoveUser(entry.name))
        elif entry.kind in ("file", "link", "directory"):
            found = observed.paths.get(entry.name)
            if found is None:
                continue
            if entry.kind == "directory" or _seen(found) in {line.state for line in entries}:
                actions.append(Remove(entry.name, entry.kind, "undeclared", "no longer declared"))
            else:
                actions.append(Forget(entry, "no longer declared, and not as Plainstack left it"))
    # Units stop before the files they run from go; directories go last, deepest first.
    order = {"UnitAction": 0, "Remove": 1, "Forget": 2, "RemoveUser": 4}
    return sorted(
        actions,
        key=lambda action: (
            order[type(action).__name__] + (2 if isinstance(action, Remove) and action.kind == "directory" else 0),
            -len(action.path) if isinstance(action, Remove) and action.kind == "directory" else 0,
        ),
    )


def _entries(
    role: str, wanted: Sequence[Resource], ours: Mapping[str, Sequence[Entry]], observed: Observed, stamp: Stamp
) -> Iterable[Entry]:
    """The role's manifest after this plan; entries whose state does not change keep their history."""
    for item in wanted:
        if isinstance(item, File | Directory | Link):
            state = state_of(item)
        elif isinstance(item, Unit):
            state = f"{'enabled' if item.enabled else 'disabled'},{'running' if item.running else 'stopped'}"
        elif isinstance(item, User):
            # An account that was there before us is used, and never removed.
            before = [entry.state for entry in ours.get(item.key, ())]
            state = before[0] if before else ("found" if item.name in observed.users else "created")
        elif isinstance(item, Package):
            state = "purge" if item.purge else "keep"
        else:
            continue
        kept = [entry for entry in ours.get(item.key, ()) if entry.state == state]
        kind, _, name = item.key.partition(" ")
        yield kept[0] if kept else Entry(kind, name, state, stamp.when, stamp.who, stamp.commit)
