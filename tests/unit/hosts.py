"""Hypothesis strategies: resources that two roles want of a host, and hosts that Plainstack and people changed before.

The strategies are built once and draw independent values. Plain functions combine these values, which is many times
faster than strategies that depend on drawn values.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from plainstack.engine.observed import PathState, UnitState, UserState
from plainstack.engine.plan.author import Stamp
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import Absent, Command, Directory, File, Link, Package, Resource, Sysctl, Unit, User
from tests.unit.simulate import Machine

Desired = Mapping[str, Sequence[Resource]]
NOW = Stamp("2026-01-01T00:00:00Z", "me@here", "abc")

UNIT_FILES = ("/etc/systemd/system/web.service", "/etc/systemd/system/db.service.d/x.conf")
UNITS = ("web.service", "db.service")
TURNS = "/etc/file-or-folder"
EXTRAS: tuple[Resource, ...] = (
    Command(name="migrate", why="w", run="r", unless="u"),
    Command(name="build", why="w", run="r", unless="u", ahead=True),
    Package(name="nginx"),
    Package(name="tmp", purge=True),
    Sysctl(name="net.x", value="1"),
)

_CONTENTS = (b"", b"one\n", b"two\n")


def _files(path: str) -> list[Resource]:
    rights = [("root", 0o644), ("root", 0o600), ("app", 0o600)]
    usual = [File(path=path, content=text, mode=mode, owner=owner) for text in _CONTENTS for owner, mode in rights]
    return [*usual, *(File(path=path, content=text, early=path not in (TURNS, *UNIT_FILES)) for text in _CONTENTS)]


def _folders(path: str) -> list[Resource]:
    usual = [Directory(path=path), Directory(path=path, mode=0o700), Directory(path=path, owner="app")]
    return [*usual, Directory(path=path, purge=True)]


def _links(path: str) -> list[Resource]:
    return [Link(path=path, target="/x"), Link(path=path, target="/y")]


_VARIANTS: Mapping[str, Sequence[Resource]] = {
    "/etc/d": _folders("/etc/d"),
    "/etc/d/b": [*_files("/etc/d/b"), *_links("/etc/d/b"), Absent(path="/etc/d/b")],
    "/etc/apt/a": [*_files("/etc/apt/a"), *_links("/etc/apt/a"), Absent(path="/etc/apt/a")],
    TURNS: [*_files(TURNS), *_links(TURNS), *_folders(TURNS)],
    **{path: _files(path) for path in UNIT_FILES},
}
_INPUTS = ("/etc/d/b", "/etc/apt/a", TURNS, "token")
_USERS = (
    User(name="app"),
    User(name="app", shell="/bin/sh"),
    User(name="app", groups=("adm",)),
)
_RAW = st.fixed_dictionaries(
    {
        "paths": st.fixed_dictionaries(
            {path: st.tuples(st.sampled_from([None, *known]), st.booleans()) for path, known in _VARIANTS.items()}
        ),
        "user": st.sampled_from([None, *_USERS]),
        "units": st.fixed_dictionaries(
            {
                name: st.none()
                | st.fixed_dictionaries(
                    {
                        "enabled": st.booleans(),
                        "running": st.booleans(),
                        "reload_on": st.sets(st.sampled_from(_INPUTS), max_size=2),
                        "restart_on": st.sets(st.sampled_from(_INPUTS), max_size=2),
                        "intact": st.sampled_from(["", "true"]),
                        "app": st.booleans(),
                    }
                )
                for name in UNITS
            }
        ),
        "extras": st.tuples(*[st.sampled_from(["", "base", "app"]) for _ in EXTRAS]),
        "app": st.booleans(),
        "order": st.integers(0, 99),
    }
)


def _desired(raw: Mapping[str, Any]) -> Desired:
    roles: dict[str, list[Resource]] = {"base": [raw["user"]] if raw["user"] else [], "app": []}
    for path, (item, app) in raw["paths"].items():
        if item is None or (getattr(item, "owner", "root") == "app" and not raw["user"]):
            continue
        # TURNS may change between a file and a folder, but it always belongs to the same role.
        roles["app" if app and path != TURNS else "base"].append(item)
    for name, unit in raw["units"].items():
        if unit is None:
            continue
        role = "app" if unit["app"] or any(name in path for path in _paths(roles["app"])) else "base"
        # A unit may read only files of its own role or of an earlier role.
        near = {"token", *_paths(roles["base"]), *_paths(roles[role])}
        roles[role].append(
            Unit(
                name=name,
                enabled=unit["enabled"],
                running=unit["running"],
                intact=unit["intact"],
                reload_on=tuple(sorted(unit["reload_on"] & near)),
                restart_on=tuple(sorted(unit["restart_on"] & near)),
            )
        )
    for item, role in zip(EXTRAS, raw["extras"], strict=True):
        if role:
            roles[role].append(item)
    for resources in roles.values():
        random.Random(raw["order"]).shuffle(resources)
    return roles if raw["app"] else {"base": roles["base"]}


def _paths(resources: Sequence[Resource]) -> list[str]:
    """Return the paths that a unit may name, without early files, which belong to the package transaction."""
    known = [item for item in resources if isinstance(item, File | Link | Absent)]
    return [item.path for item in known if not (isinstance(item, File) and item.early)]


desired_states = _RAW.map(_desired)


def everything(desired: Desired) -> list[Resource]:
    """Return the resources of all roles."""
    return [item for resources in desired.values() for item in resources]


def sha(content: bytes) -> str:
    """Return the hash of the content."""
    return File(path="/", content=content).sha256


_FOUND = st.dictionaries(
    st.sampled_from(["/etc/apt/a", *UNIT_FILES]),
    st.sampled_from([PathState("file", 0o644, "root", "root", sha(text)) for text in _CONTENTS]),
)
_FOUND_UNITS = st.dictionaries(
    st.sampled_from(UNITS),
    st.sampled_from(
        [
            UnitState("loaded", *state)
            for state in (("active", "", "enabled"), ("failed", "", "disabled"), ("inactive", "", "masked"))
        ]
    ),
)
_DRIFT = st.fixed_dictionaries(
    {
        "paths": st.fixed_dictionaries(
            {path: st.sampled_from(["", "", "remove", "mode", "content"]) for path in _VARIANTS}
        ),
        "units": st.fixed_dictionaries(
            {name: st.sampled_from(["", "stop", "disable", "reload", "restart", "intact"]) for name in UNITS}
        ),
        "packages": st.booleans(),
        "user": st.booleans(),
    }
)


def _machine(
    found: dict[str, PathState],
    units: dict[str, UnitState],
    user: bool,
    before: Desired | None,
    drift: Mapping[str, Any] | None,
) -> Machine:
    machine = Machine(paths=dict(found), units=dict(units), sysctls={"net.x": "0"}, unit_files=UNIT_FILES)
    if user:
        machine.users["app"] = UserState("/home/app", "/bin/sh")
    if before is not None:
        machine.apply(plan("db1", before, machine.observed(everything(before)), NOW), everything(before))
        if drift is not None:
            _drift(machine, drift, everything(before))
    return machine


def _drift(machine: Machine, drift: Mapping[str, Any], known: Sequence[Resource]) -> None:
    """Change a host as people do by hand."""
    for path, change in drift["paths"].items():
        state = machine.paths.get(path)
        if state is None:
            continue
        if change == "remove" and not any(other.startswith(f"{path}/") for other in machine.paths):
            del machine.paths[path]
        # A plan does not replace a file that somebody changed with a folder, so TURNS keeps its mode and content.
        elif change == "mode" and state.kind != "link" and path != TURNS:
            machine.paths[path] = PathState(state.kind, 0o640, "root", "root", state.sha256)
        elif change == "content" and state.kind == "file" and path != TURNS:
            machine.paths[path] = PathState("file", state.mode, state.owner, state.group, sha(b"by hand"))
    for unit in (item for item in known if isinstance(item, Unit)):
        change, seen = drift["units"][unit.name], machine.units.get(unit.name, UnitState())
        if change == "stop":
            machine.units[unit.name] = UnitState("loaded", "inactive", "", seen.file)
        elif change == "disable":
            machine.units[unit.name] = UnitState("loaded", seen.active, "", "disabled")
        elif change in ("reload", "restart") and seen.active == "active":
            machine.load(unit, known, restart=change == "restart")
        elif change == "intact":
            machine.guards[unit.name] = False
    if drift["packages"]:
        machine.packages.clear()
        machine.guards.pop("migrate", None)
    if drift["user"]:
        machine.users.pop("app", None)
        machine.paths = {path: state for path, state in machine.paths.items() if state.owner == "root"}
        machine.sysctls["net.x"] = "7"


machines = st.builds(_machine, _FOUND, _FOUND_UNITS, st.booleans(), st.none() | desired_states, st.none() | _DRIFT)
undisturbed = st.builds(_machine, _FOUND, _FOUND_UNITS, st.booleans(), st.none() | desired_states, st.none())
