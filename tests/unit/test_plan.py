"""The planner, by properties: from any host to any desired state, interrupted anywhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from hypothesis import assume, given
from hypothesis import strategies as st

from plainstack.actions import HostPlan, Remove, RemoveUser, UnitAction
from plainstack.compare import Stamp, seen_state, state_of
from plainstack.drift import find
from plainstack.observed import PathState, UnitState, UserState
from plainstack.plan import plan
from plainstack.resources import Absent, Command, Directory, File, Link, Package, Resource, Sysctl, Unit, User
from tests.unit.simulate import Machine

NOW = Stamp("2026-01-01T00:00:00Z", "me@here", "abc")
Desired = Mapping[str, Sequence[Resource]]

CONTENT = st.sampled_from([b"", b"one\n", b"two\n"])
MODE = st.sampled_from([0o644, 0o600])
OWNER = st.sampled_from(["root", "app"])
PATHS = ("/etc/a", "/etc/d/b", "/etc/d/e", "/etc/changes-kind")
UNIT_FILES = ("/etc/systemd/system/web.service", "/etc/systemd/system/db.service.d/x.conf")
UNITS = ("web.service", "db.service")


def files(path: str, owner: st.SearchStrategy[str]) -> st.SearchStrategy[File]:
    usual = st.builds(File, path=st.just(path), content=CONTENT, mode=MODE, owner=owner)
    early = st.builds(File, path=st.just(path), content=CONTENT, early=st.just(True))
    # Where a directory was, only the role's own transaction makes room for a file.
    return usual if path == "/etc/changes-kind" else usual | early


@st.composite
def desired_states(draw: st.DrawFn) -> Desired:
    """What two roles may want of one host; a unit reads files of its own role and of the one before."""
    roles: dict[str, list[Resource]] = {"base": [], "app": []}
    has_user = draw(st.booleans())
    if has_user:
        shell = draw(st.sampled_from(["/bin/sh", "/usr/sbin/nologin"]))
        roles["base"].append(User(name="app", shell=shell, groups=draw(st.sampled_from([(), ("adm",)]))))
    owner = OWNER if has_user else st.just("root")
    for path in ("/etc/d", *PATHS, *UNIT_FILES):
        folder = st.builds(Directory, path=st.just(path), mode=st.sampled_from([0o755, 0o700]), owner=owner)
        link = st.builds(Link, path=st.just(path), target=st.sampled_from(["/x", "/y"]))
        kinds: list[st.SearchStrategy[Resource]] = [files(path, owner)]
        if path == "/etc/d":
            kinds = [folder]
        elif path == "/etc/changes-kind":
            kinds += [folder, link]
        elif path in PATHS:
            kinds += [link, st.just(Absent(path=path))]
        item = draw(st.one_of(st.none(), *kinds))
        if item is not None:
            # A directory that becomes something else does so in the role that declared it.
            roles["base" if path == "/etc/changes-kind" else draw(st.sampled_from(["base", "app"]))].append(item)
    for name in UNITS:
        if draw(st.booleans()):
            role = draw(st.sampled_from(["base", "app"]))
            near = [
                item.path
                for known in ("base", role)
                for item in roles[known]
                if isinstance(item, File | Link | Absent) and item.path in PATHS
            ]
            some = st.lists(st.sampled_from([*near, "token"]), max_size=2, unique=True).map(tuple)
            own = [path for path in UNIT_FILES if name in path]
            assume(role == "app" or not any(isinstance(i, File) and i.path in own for i in roles["app"]))
            roles[role].append(
                Unit(
                    name=name,
                    enabled=draw(st.booleans()),
                    running=draw(st.booleans()),
                    reload_on=draw(some),
                    restart_on=draw(some),
                    intact=draw(st.sampled_from(["", "true"])),
                )
            )
    for extra in (
        Command(name="migrate", why="w", run="r", unless="u"),
        Package(name="nginx"),
        Package(name="tmp", purge=True),
        Sysctl(name="net.x", value="1"),
    ):
        if draw(st.booleans()):
            roles[draw(st.sampled_from(["base", "app"]))].append(extra)
    shuffled = {role: draw(st.permutations(resources)) for role, resources in roles.items()}
    return {role: shuffled[role] for role in ("base", "app") if role == "base" or draw(st.booleans())}


def everything(desired: Desired) -> list[Resource]:
    return [item for resources in desired.values() for item in resources]


@st.composite
def machines(draw: st.DrawFn, *, drifted: bool = True) -> Machine:
    """A host that was deployed to before, perhaps, and on which somebody else has worked since, perhaps."""
    machine = Machine(sysctls={"net.x": "0"}, unit_files=UNIT_FILES)
    found = st.builds(PathState, st.just("file"), MODE, st.just("root"), st.just("root"), CONTENT.map(sha))
    machine.paths = draw(st.dictionaries(st.sampled_from(["/etc/a", *UNIT_FILES]), found))
    for name in draw(st.sets(st.sampled_from(UNITS))):
        active, file = (
            draw(st.sampled_from(["active", "inactive", "failed"])),
            draw(st.sampled_from(["enabled", "masked"])),
        )
        machine.units[name] = UnitState("loaded", active, "", file)
    if draw(st.booleans()):
        machine.users["app"] = UserState("/home/app", "/bin/sh")
    before = draw(st.none() | desired_states())
    if before is not None:
        machine.apply(look(before, machine), everything(before))
    if before is not None and drifted:
        drift(draw, machine, everything(before))
    return machine


def drift(draw: st.DrawFn, machine: Machine, known: list[Resource]) -> None:
    """What a person may do to a host by hand."""
    for path, state in list(machine.paths.items()):
        change = draw(st.sampled_from(["none", "none", "remove", "mode", "content"]))
        if change == "remove" and not any(other.startswith(f"{path}/") for other in machine.paths):
            del machine.paths[path]
        elif change == "mode" and state.kind != "link":
            machine.paths[path] = PathState(state.kind, 0o640, "root", "root", state.sha256)
        elif change == "content" and state.kind == "file":
            machine.paths[path] = PathState("file", state.mode, state.owner, state.group, sha(b"by hand"))
    for unit in (item for item in known if isinstance(item, Unit)):
        change = draw(st.sampled_from(["none", "stop", "disable", "reload", "intact"]))
        seen = machine.units.get(unit.name, UnitState())
        if change == "stop":
            machine.units[unit.name] = UnitState("loaded", "inactive", "", seen.file)
        elif change == "disable":
            machine.units[unit.name] = UnitState("loaded", seen.active, "", "disabled")
        elif change == "reload" and seen.active == "active":
            machine.load(unit, known, restart=draw(st.booleans()))
        elif change == "intact":
            machine.guards[unit.name] = False
    if draw(st.booleans()):
        machine.packages.clear()
        machine.guards.pop("migrate", None)
    if draw(st.booleans()):
        machine.users.pop("app", None)
        machine.paths = {p: s for p, s in machine.paths.items() if s.owner == "root"}
        machine.sysctls["net.x"] = "7"


def sha(content: bytes) -> str:
    return File(path="/", content=content).sha256


def look(desired: Desired, machine: Machine, scope: Sequence[str] | None = None) -> HostPlan:
    return plan("db1", desired, machine.observed(), NOW, scope)


@given(machines(), desired_states())
def test_what_a_plan_leaves_needs_no_plan(machine: Machine, desired: Desired) -> None:
    machine.apply(look(desired, machine), everything(desired))
    assert all(machine.satisfies(item) for item in everything(desired))
    assert look(desired, machine).empty


@given(desired_states())
def test_an_empty_host_gets_everything(desired: Desired) -> None:
    machine = Machine(sysctls={"net.x": "0"}, unit_files=UNIT_FILES)
    found = look(desired, machine)
    machine.apply(found, everything(desired))
    assert all(machine.satisfies(item) for item in everything(desired))
    assert {getattr(action, "cause", "new") for _, action in found.actions()} <= {"new", "changed"}


@given(machines(), desired_states())
def test_nothing_is_removed_that_plainstack_did_not_write(machine: Machine, desired: Desired) -> None:
    """What is removed is in the manifest, as it was left; whatever somebody else changed since stays."""
    ours = {entry.name: entry for entries in machine.manifest.values() for entry in entries}
    unwanted = {item.path for item in everything(desired) if isinstance(item, Absent)}
    before = dict(machine.paths)
    for _, action in look(desired, machine).actions():
        if isinstance(action, Remove) and action.path not in unwanted:
            assert action.kind == "directory" or seen_state(before[action.path]) == ours[action.path].state
        elif isinstance(action, RemoveUser):
            assert ours[action.name].state.startswith("created ")


@given(desired_states(), desired_states(), st.data())
def test_what_was_found_just_as_wanted_outlives_us(desired: Desired, later: Desired, data: st.DataObject) -> None:
    wanted = [item for item in everything(desired) if isinstance(item, File) and item.owner == "root"]
    some = data.draw(st.lists(st.sampled_from(wanted), unique=True)) if wanted else []
    found = {item.path: PathState("file", item.mode, "root", "root", item.sha256) for item in some}
    machine = Machine(paths=dict(found), sysctls={"net.x": "0"}, unit_files=UNIT_FILES)
    machine.apply(look(desired, machine), everything(desired))
    without = {"base": [item for item in everything(later) if not isinstance(item, File | Link | Absent | Directory)]}
    machine.apply(look(without, machine), everything(without))
    assert found.items() <= machine.paths.items()


@given(machines(drifted=False), desired_states(), st.integers(1, 40))
def test_a_run_that_is_killed_anywhere_is_healed_by_the_next(machine: Machine, desired: Desired, killed: int) -> None:
    """The end is that of a run that was not killed, and nobody is accused of having changed anything."""
    whole = copy.deepcopy(machine)
    steps = whole.apply(look(desired, whole), everything(desired))
    assume(steps)
    machine.apply(look(desired, machine), everything(desired), stop_after=1 + killed % steps)
    second = look(desired, machine)
    assert [action for _, action in second.actions() if getattr(action, "cause", "") == "drift"] == []
    assert find("db1", desired, machine.observed()) == []
    machine.apply(second, everything(desired))
    assert machine.outcome() == whole.outcome()
    assert look(desired, machine).empty


@given(machines(), desired_states(), st.integers(1, 40))
def test_no_unit_is_left_with_inputs_that_it_has_not_read(machine: Machine, desired: Desired, killed: int) -> None:
    """Judged by what units have in memory, not by stamps; also when somebody reloaded by hand, and after a kill."""
    wanted = everything(desired)
    machine.apply(look(desired, machine), wanted, stop_after=killed)
    machine.apply(look(desired, machine), wanted)
    for unit in (item for item in wanted if isinstance(item, Unit) and item.running):
        if unit.name in machine.restarted:
            assert machine.restarted[unit.name] == machine.input_states(unit, wanted, reload=False)
        if unit.name in machine.loaded:
            assert machine.loaded[unit.name] == machine.input_states(unit, wanted, reload=True)
    files_of_units = {path: seen_state(machine.paths.get(path)) for path in UNIT_FILES}
    assert machine.reread is None or machine.reread == files_of_units


@given(machines(drifted=False), desired_states(), st.integers(1, 40))
def test_a_killed_run_costs_no_restart_that_a_whole_one_would_not(
    machine: Machine, desired: Desired, killed: int
) -> None:
    whole = look(desired, machine)
    machine.apply(whole, everything(desired), stop_after=killed)
    assert restarts(look(desired, machine)) <= restarts(whole)


def restarts(found: HostPlan) -> set[str]:
    return {a.unit.name for _, a in found.actions() if isinstance(a, UnitAction) and a.verb in ("start", "restart")}


@given(machines(), desired_states())
def test_a_run_limited_to_a_role_leaves_the_others_alone(machine: Machine, desired: Desired) -> None:
    before = dict(machine.manifest)
    found = look(desired, machine, scope=["base"])
    machine.apply(found, everything(desired))
    assert {transaction.role for transaction in found.transactions} <= {"base"}
    assert {role: entries for role, entries in machine.manifest.items() if role != "base"} == {
        role: entries for role, entries in before.items() if role != "base"
    }
    assert look(desired, machine, scope=["base"]).empty
    machine.apply(look(desired, machine), everything(desired))
    assert look(desired, machine).empty
