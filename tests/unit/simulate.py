"""A host in memory, which carries out a plan step by step as the script does on a real host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from plainstack.engine.kinds.path_state import State as Path
from plainstack.engine.observed import Entry, Observed, PathState, UnitState, UserState
from plainstack.engine.plan.actions import (
    Action,
    DaemonReload,
    HostPlan,
    MakeUser,
    Put,
    Remove,
    RemoveUser,
    Run,
    SetSysctl,
    Transaction,
    UnitAction,
)
from plainstack.engine.resources import Absent, Command, Directory, File, Link, Resource, Unit
from plainstack.engine.stamps import inputs, reread_stamp

State = TypeVar("State")


@dataclass
class Machine:
    """The state of a host, including the states of files that its units and systemd itself have in memory."""

    paths: dict[str, PathState] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    users: dict[str, UserState] = field(default_factory=dict)
    units: dict[str, UnitState] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    guards: dict[str, bool] = field(default_factory=dict)
    manifest: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    restarted: dict[str, dict[str, str]] = field(default_factory=dict)
    loaded: dict[str, dict[str, str]] = field(default_factory=dict)
    unit_files: tuple[str, ...] = ()
    reread: dict[str, str] | None = None

    def observed(self, known: Sequence[Resource]) -> Observed:
        """Return what a probe would see: only what is declared in `known` or listed in the manifest."""
        entries = [entry for same in self.manifest.values() for entry in same]
        asked = {entry.name for entry in entries} | {getattr(item, "path", getattr(item, "name", "")) for item in known}

        def seen(held: Mapping[str, State]) -> dict[str, State]:
            return {name: state for name, state in held.items() if name in asked}

        return Observed(
            paths=seen(self.paths),
            packages=seen(self.packages),
            users=seen(self.users),
            units=seen(self.units),
            states={"sysctl": seen(self.sysctls)},
            stamps=dict(self.stamps),
            guards=seen(self.guards),
            manifest=dict(self.manifest),
            leftovers=self.leftovers,
        )

    def outcome(self) -> object:
        """Return everything in which two runs to the same state must agree: all but the operators and the times."""
        manifest = {role: {(entry.key, entry.state) for entry in entries} for role, entries in self.manifest.items()}
        guards = {name for name, true in self.guards.items() if true}
        now = (self.paths, self.packages, self.users, self.units, self.sysctls, self.stamps, guards, self.leftovers)
        return (*now, manifest)

    def apply(self, plan: HostPlan, desired: Sequence[Resource], stop_after: int | None = None) -> int:
        """Carry out a plan, or only its first `stop_after` steps, as if killed; return the number of steps done."""
        number = 0
        for number, _ in enumerate(self._steps(plan, desired), 1):
            if number == stop_after:
                self.leftovers = ("run",)
                break
        return number

    def _steps(self, plan: HostPlan, desired: Sequence[Resource]) -> Iterator[str]:
        self.leftovers = ()
        if plan.packages:
            for role, entries in plan.packages.transition:
                self._record(role, entries)
                yield "record the planned changes in the manifest"
            for file in plan.packages.early:
                self._put(Put(file, "new", None))
                yield f"early {file.path}"
            for path in plan.packages.cleared:
                del self.paths[path]
                yield f"early {path}"
            for name in plan.packages.install:
                self.packages[name] = "1"
            yield "install"
            for name in plan.packages.purge:
                self.packages.pop(name, None)
            yield "purge"
        for transaction in plan.transactions:
            yield from self._transaction(transaction, desired)

    def _transaction(self, work: Transaction, desired: Sequence[Resource]) -> Iterator[str]:
        self._record(work.role, work.transition)
        yield "record the planned changes in the manifest"
        for unit, stamp in work.stale:
            self._keep(unit, stamp)
            yield f"mark {unit}"
        for action in work.actions:
            self._act(action, work.role, desired)
            yield action.subject()
        self._record(work.role, work.manifest)
        yield "record the new state in the manifest"

    def _record(self, role: str, entries: tuple[Entry, ...]) -> None:
        self.manifest.pop(role, None)
        if entries:
            self.manifest[role] = entries

    def _keep(self, unit: str, stamp: str) -> None:
        self.stamps.pop(unit, None)
        if stamp:
            self.stamps[unit] = stamp

    def _act(self, action: Action, role: str, desired: Sequence[Resource]) -> None:
        if isinstance(action, Put):
            self._put(action)
        elif isinstance(action, Remove):
            self._remove(action)
        elif isinstance(action, MakeUser):
            user = action.user
            assert (user.name in self.users) is not action.create
            groups = self.users[user.name].groups if user.name in self.users else ()
            self.users[user.name] = UserState(user.home, user.shell, tuple(dict.fromkeys([*groups, *user.groups])))
        elif isinstance(action, RemoveUser):
            del self.users[action.name]
        elif isinstance(action, SetSysctl):
            self.sysctls[action.name] = action.value
        elif isinstance(action, DaemonReload):
            self._keep(reread_stamp(role), action.stamp)
            self.reread = {path: str(Path.seen(self.paths.get(path))) for path in self.unit_files}
        elif isinstance(action, Run):
            self.guards[action.command.name] = True
        elif isinstance(action, UnitAction):
            self._switch(action, desired)

    def _put(self, action: Put) -> None:
        item = action.resource
        there = self.paths.get(item.path)
        if isinstance(item, Link):
            assert there is None or there.kind != "directory", "a directory is in the way"
            self.paths[item.path] = PathState("link", 0o777, "root", "root", target=item.target)
            return
        if isinstance(item, File):
            assert there is None or there.kind != "directory", "a directory is in the way"
            assert item.owner in ("root", *self.users), "chown: no such user"
            self.paths[item.path] = PathState("file", item.mode, item.owner, item.group, item.sha256)
        else:
            assert there is None or there.kind == "directory", "something is in the way"
            self.paths[item.path] = PathState("directory", item.mode, item.owner, item.group)

    def _remove(self, action: Remove) -> None:
        there = self.paths.get(action.path)
        if action.kind == "tree":
            for path in [path for path in self.paths if path.startswith(f"{action.path}/")]:
                del self.paths[path]
        elif action.kind == "directory":
            assert there is None or there.kind == "directory", "rmdir: not a directory"
            if any(path.startswith(f"{action.path}/") for path in self.paths):
                return
        self.paths.pop(action.path, None)

    def _switch(self, action: UnitAction, desired: Sequence[Resource]) -> None:
        unit = action.unit
        if action.verb == "disable" and unit.name not in self.units:
            return
        seen = self.units.get(unit.name, UnitState("loaded", "inactive", "dead", "disabled"))
        active = {"start": "active", "stop": "inactive"}.get(action.verb, seen.active)
        file = {"enable": "enabled", "disable": "disabled", "unmask": "disabled"}.get(action.verb, seen.file)
        self.units[unit.name] = UnitState("loaded", active, seen.sub, file)
        if action.verb in ("start", "restart", "reload"):
            assert active == "active", f"{action.verb} of a unit that is not running"
            self._keep(unit.name, action.stamp)
            self.guards[unit.name] = True
            self.load(unit, desired, restart=action.verb != "reload")

    def load(self, unit: Unit, desired: Sequence[Resource], *, restart: bool) -> None:
        """Make a unit read its inputs as they are now; only a restart makes it read all of them."""
        if restart:
            self.restarted[unit.name] = self.input_states(unit, desired, reload=False)
        self.loaded[unit.name] = self.input_states(unit, desired, reload=True)

    def input_states(self, unit: Unit, desired: Sequence[Resource], *, reload: bool) -> dict[str, str]:
        """Return the states of a unit's inputs on the host, by path."""
        paths = inputs(unit, desired, reload=reload)
        return {path: str(Path.seen(self.paths.get(path))) for path in sorted(paths)}

    def satisfies(self, item: Resource) -> bool:
        """Return whether a resource is as wanted, without asking the planner."""
        if isinstance(item, File | Link | Directory):
            there = self.paths.get(item.path)
            if isinstance(item, Link):
                return there is not None and (there.kind, there.target) == ("link", item.target)
            kind = "file" if isinstance(item, File) else "directory"
            sha256 = item.sha256 if isinstance(item, File) else ""
            return there == PathState(kind, item.mode, item.owner, item.group, sha256)
        if isinstance(item, Unit):
            unit = self.units.get(item.name, UnitState())
            return (unit.file == "enabled", unit.active == "active") == (item.enabled, item.running)
        if isinstance(item, Command):
            return self.guards.get(item.name, False)
        if isinstance(item, Absent):
            return item.path not in self.paths
        kind, _, name = item.key.partition(" ")
        held: Mapping[str, Mapping[str, object]] = {
            "package": self.packages,
            "user": self.users,
            "sysctl": self.sysctls,
        }
        return name in held.get(kind, {name: ""})
