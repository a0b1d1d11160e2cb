"""One resource against what was observed: the actions it needs, and the manifest entry it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from plainstack.engine.observed import Entry, Observed, PathState, UnitState
from plainstack.engine.plan.actions import (
    Action,
    Cause,
    Forget,
    MakeUser,
    Put,
    Remove,
    RemoveUser,
    SetSysctl,
    UnitAction,
)
from plainstack.engine.resources import Absent, Directory, File, Link, Package, Resource, Sysctl, Unit, User

Path = File | Directory | Link | Absent
FOUND = "(found)"
"""The author of an entry for something that was on the host already, just as it is wanted."""


@dataclass(frozen=True)
class Stamp:
    """Who deploys, when, from which commit and which version of the secrets: written into manifests, never compared."""

    when: str
    who: str
    commit: str
    store: str = ""


def is_served(package: Package, observed: Observed) -> bool:
    """Whether a package is installed, or another that does as well."""
    return any(name in observed.packages for name in (package.name, *package.instead))


def state_of(item: File | Directory | Link) -> str:
    """A wanted path's state, in the form that the manifest keeps and `_seen` gives."""
    if isinstance(item, File):
        return f"{item.sha256} {item.mode:04o} {item.owner}:{item.group}"
    if isinstance(item, Directory):
        return f"directory {item.mode:04o} {item.owner}:{item.group}"
    return f"-> {item.target}"


def seen_state(path: PathState | None) -> str:
    """An observed path's state in the same form; "absent" for none."""
    if path is None:
        return "absent"
    if path.kind == "link":
        return f"-> {path.target}"
    what = path.sha256 if path.kind == "file" else path.kind
    return f"{what} {path.mode:04o} {path.owner}:{path.group}"


def cause_of(key: str, ours: Mapping[str, Sequence[Entry]], seen: str, wanted: str) -> Cause:
    """Drift: what is there is not what we left. Otherwise what we left is not what is wanted now."""
    states = {entry.path_state for entry in ours.get(key, ())}
    if not states:
        return "new" if seen == "absent" else "changed"
    between = len(states) > 1
    # Between one kind of path and another there is a moment with neither.
    if seen not in states and seen != wanted and not (between and seen == "absent"):
        return "drift"
    return "interrupted" if between else "changed"


def outside_cause(key: str, ours: Mapping[str, Sequence[Entry]], wanted: str) -> Cause:
    """The cause of a difference in something whose manifest state says what was wanted of it."""
    states = {entry.state for entry in ours.get(key, ())}
    if not states:
        return "new"
    if len(states) > 1:
        return "interrupted"
    return "drift" if wanted in states else "changed"


def path_actions(
    item: File | Directory | Link, ours: Mapping[str, Sequence[Entry]], observed: Observed
) -> list[Action]:
    """Write a file, directory or link that is not as wanted."""
    wanted, found = state_of(item), observed.paths.get(item.path)
    seen = seen_state(found)
    if seen == wanted:
        return []
    cause = cause_of(item.key, ours, seen, wanted)
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


def user_actions(user: User, ours: Mapping[str, Sequence[Entry]], observed: Observed) -> list[Action]:
    """Create or change an account that is not as wanted."""
    seen = observed.users.get(user.name)
    cause = outside_cause(user.key, ours, user_state(user, ours, observed))
    if seen is None:
        return [MakeUser(user, create=True, cause=cause, detail="missing")]
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
    cause = "changed" if cause == "new" else cause
    return [MakeUser(user, create=False, cause=cause, detail=f"{', '.join(differing)} differ")]


def user_state(user: User, ours: Mapping[str, Sequence[Entry]], observed: Observed) -> str:
    """A wanted account's state, in the form that the manifest keeps; one that was there before us is never removed."""
    made = [entry.state.split(" ")[0] for entry in ours.get(user.key, ()) if entry.who != FOUND]
    origin = made[0] if made else ("found" if user.name in observed.users else "created")
    return f"{origin} {user.home} {user.shell} {','.join(user.groups)}"


def unit_state(unit: Unit) -> str:
    """A wanted unit's state, in the form that the manifest keeps."""
    return f"{'enabled' if unit.enabled else 'disabled'},{'running' if unit.running else 'stopped'}"


def sysctl_actions(item: Sysctl, ours: Mapping[str, Sequence[Entry]], observed: Observed) -> list[Action]:
    """Set a kernel parameter whose live value differs."""
    seen = observed.sysctls.get(item.name)
    if seen == item.value:
        return []
    same = [replace(entry, state=entry.state.partition(" was ")[0]) for entry in ours.get(item.key, ())]
    cause = outside_cause(item.key, {item.key: same} if same else {}, item.value)
    return [SetSysctl(item.name, item.value, cause, f"is {seen}")]


def removals(
    ours: Mapping[str, Sequence[Entry]], wanted: Sequence[Resource], everything: Sequence[Resource], observed: Observed
) -> list[Action]:
    """What to do about a role's entries that nobody declares any more; `everything` is what all roles want."""
    actions: list[Action] = []
    declared = {item.key for item in everything}
    for key, entries in ours.items():
        entry = entries[-1]
        if key in declared or _is_replaced(entry, wanted, everything):
            continue
        if entry.kind == "unit":
            if entry.who == FOUND:
                continue
            unit = Unit(name=entry.name, enabled=False, running=False)
            seen = observed.units.get(entry.name, UnitState())
            if seen.active not in ("inactive", "failed"):
                actions.append(UnitAction("stop", unit, "undeclared", "no longer declared"))
            if seen.file in ("enabled", "enabled-runtime"):
                actions.append(UnitAction("disable", unit, "undeclared", "no longer declared"))
        elif entry.kind == "sysctl":
            before = entry.state.partition(" was ")[2]
            if observed.sysctls.get(entry.name) != before:
                actions.append(SetSysctl(entry.name, before, "undeclared", "no longer declared; back to what it was"))
        elif entry.kind == "user":
            if entry.state.split(" ")[0] == "created" and entry.name in observed.users:
                actions.append(RemoveUser(entry.name))
        elif entry.kind in ("file", "link", "directory"):
            found = observed.paths.get(entry.name)
            if found is None:
                continue
            left = {one.path_state for one in entries if one.who != FOUND}
            if found.kind == "directory" and any(one.purge for one in entries) and not _holds(entry.name, everything):
                actions.append(Remove(entry.name, "tree", "undeclared", "no longer declared, with all that is in it"))
            elif left and (entry.kind == found.kind == "directory" or seen_state(found) in left):
                actions.append(Remove(entry.name, entry.kind, "undeclared", "no longer declared"))
            else:
                actions.append(Forget(entry, "no longer declared, and not as Plainstack left it"))
    # Units stop before the files they run from go; directories go last, deepest first.
    order = {"UnitAction": 0, "Remove": 1, "Forget": 2, "SetSysctl": 2, "RemoveUser": 4}
    return sorted(
        actions,
        key=lambda action: (
            order[type(action).__name__] + (2 if isinstance(action, Remove) and action.folder else 0),
            -len(action.path) if isinstance(action, Remove) and action.folder else 0,
        ),
    )


def _holds(folder: str, everything: Sequence[Resource]) -> bool:
    """Whether anything that is declared lies in a folder."""
    return any(isinstance(item, Path) and item.path.startswith(f"{folder}/") for item in everything)


def _is_replaced(entry: Entry, wanted: Sequence[Resource], everything: Sequence[Resource]) -> bool:
    """Whether a path is declared as something else now, and removing it would remove what takes its place.

    Where a directory comes or goes it must be removed first, which only the role that declares the new one can do.
    """
    if entry.kind not in ("file", "link", "directory"):
        return False
    new = next((item for item in everything if isinstance(item, Path) and item.path == entry.name), None)
    if new is None:
        return False
    return new not in wanted or (entry.kind != "directory" and not isinstance(new, Directory))
