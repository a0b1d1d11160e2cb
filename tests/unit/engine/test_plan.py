"""Property tests of the planner: from any host to any desired state, interrupted anywhere."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from plainstack.engine.kinds.path_state import State
from plainstack.engine.observed import PathState
from plainstack.engine.plan.actions import HostPlan, Record, Remove, RemoveUser, UnitAction
from plainstack.engine.plan.drift import find
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import Absent, Directory, File, Link, Package, Resource, Unit
from tests.unit.hosts import NOW, UNIT_FILES, Desired, desired_states, everything, machines, undisturbed
from tests.unit.simulate import Machine


def look(desired: Desired, machine: Machine, scope: Sequence[str] | None = None) -> HostPlan:
    return plan("db1", desired, machine.observed(everything(desired)), NOW, scope)


@given(machines, desired_states)
def test_applying_a_plan_leaves_nothing_to_do(machine: Machine, desired: Desired) -> None:
    machine.apply(look(desired, machine), everything(desired))
    assert all(machine.satisfies(item) for item in everything(desired))
    assert look(desired, machine).empty


@given(desired_states)
def test_an_empty_host_gets_every_declared_resource(desired: Desired) -> None:
    machine = Machine(sysctls={"net.x": "0"}, unit_files=UNIT_FILES)
    found = look(desired, machine)
    machine.apply(found, everything(desired))
    assert all(machine.satisfies(item) for item in everything(desired))
    causes = {getattr(action, "cause", "new") for _, action in found.actions() if not isinstance(action, Record)}
    assert causes <= {"new", "changed"}


@given(machines, desired_states)
def test_only_files_that_plainstack_wrote_are_removed(machine: Machine, desired: Desired) -> None:
    """A plan removes only manifest entries that were not changed after Plainstack wrote them."""
    ours = {entry.name: entry for entries in machine.manifest.values() for entry in entries}
    unwanted = {item.path for item in everything(desired) if isinstance(item, Absent)}
    before = dict(machine.paths)
    for _, action in look(desired, machine).actions():
        if isinstance(action, Remove) and action.path not in unwanted:
            left = ours[action.path].state
            # A folder is removed if it is empty, or with its contents if its role declared `purge`.
            whole = action.kind == "tree" and left.endswith(" purge")
            assert action.kind == "directory" or whole or str(State.seen(before[action.path])) == left
        elif isinstance(action, RemoveUser):
            assert ours[action.name].state.startswith("created ")


@given(desired_states, desired_states, st.data())
def test_resources_found_in_the_desired_state_are_never_removed(
    desired: Desired, later: Desired, data: st.DataObject
) -> None:
    wanted = [item for item in everything(desired) if isinstance(item, File) and item.owner == "root"]
    some = data.draw(st.lists(st.sampled_from(wanted), unique=True)) if wanted else []
    found = {item.path: PathState("file", item.mode, "root", "root", item.sha256) for item in some}
    folders = {str(Path(path).parent): PathState("directory", 0o755, "root", "root") for path in found}
    machine = Machine(paths={**folders, **found}, sysctls={"net.x": "0"}, unit_files=UNIT_FILES)
    machine.apply(look(desired, machine), everything(desired))
    without = {"base": [item for item in everything(later) if not isinstance(item, File | Link | Absent | Directory)]}
    machine.apply(look(without, machine), everything(without))
    assert found.items() <= machine.paths.items()


@given(undisturbed, desired_states, st.integers(1, 40))
def test_the_next_run_completes_a_run_that_was_killed_at_any_step(
    machine: Machine, desired: Desired, killed: int
) -> None:
    """The final state is that of an uninterrupted run, and no drift is reported."""
    whole = copy.deepcopy(machine)
    steps = whole.apply(look(desired, whole), everything(desired))
    assume(steps)
    machine.apply(look(desired, machine), everything(desired), stop_after=1 + killed % steps)
    second = look(desired, machine)
    assert [action for _, action in second.actions() if getattr(action, "cause", "") == "drift"] == []
    assert find("db1", desired, machine.observed(everything(desired))) == []
    machine.apply(second, everything(desired))
    assert machine.outcome() == whole.outcome()
    assert look(desired, machine).empty


@given(machines, desired_states, st.integers(1, 40))
def test_no_unit_is_left_with_inputs_that_it_has_not_read(machine: Machine, desired: Desired, killed: int) -> None:
    """The test compares what units have in memory, not stamps. It includes reloads by hand and kills."""
    wanted = everything(desired)
    machine.apply(look(desired, machine), wanted, stop_after=killed)
    machine.apply(look(desired, machine), wanted)
    for unit in (item for item in wanted if isinstance(item, Unit) and item.running):
        if unit.name in machine.restarted:
            assert machine.restarted[unit.name] == machine.input_states(unit, wanted, reload=False)
        if unit.name in machine.loaded:
            assert machine.loaded[unit.name] == machine.input_states(unit, wanted, reload=True)
    ours = {item.path for item in wanted if isinstance(item, File)} & set(UNIT_FILES)
    for path, state in (machine.reread or {}).items():
        assert path not in ours or state == str(State.seen(machine.paths.get(path)))


@given(undisturbed, desired_states, st.integers(1, 40))
def test_a_killed_run_causes_no_additional_restart(machine: Machine, desired: Desired, killed: int) -> None:
    whole = look(desired, machine)
    machine.apply(whole, everything(desired), stop_after=killed)
    assert restarts(look(desired, machine)) <= restarts(whole)


def restarts(found: HostPlan) -> set[str]:
    return {a.unit.name for _, a in found.actions() if isinstance(a, UnitAction) and a.verb in ("start", "restart")}


@given(machines, desired_states)
def test_a_run_limited_to_a_role_leaves_the_other_roles_alone(machine: Machine, desired: Desired) -> None:
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


@given(machines, desired_states, st.data())
def test_a_run_limited_to_some_resources_leaves_everything_else_as_it_is(
    machine: Machine, desired: Desired, data: st.DataObject
) -> None:
    wanted = everything(desired)
    # An account is needed by the files that it owns.
    only = {item.key for item in wanted if data.draw(st.booleans()) and not _by_apt(item)} | {"user app"}
    seen = machine.observed(wanted)
    paths, before = dict(machine.paths), {role: set(entries) for role, entries in machine.manifest.items()}
    machine.apply(plan("db1", desired, seen, NOW, [*desired], only), wanted)
    assert all(machine.satisfies(item) for item in wanted if item.key in only)
    ours = {getattr(item, "path", "") for item in wanted if item.key in only}
    assert {path: state for path, state in machine.paths.items() if not _inside(path, ours)} == {
        path: state for path, state in paths.items() if not _inside(path, ours)
    }
    for role in desired:
        left_alone = {entry for entry in before.get(role, ()) if entry.key not in only and entry.name not in ours}
        assert left_alone <= set(machine.manifest.get(role, ()))
    assert plan("db1", desired, machine.observed(wanted), NOW, [*desired], only).empty
    machine.apply(look(desired, machine), wanted)
    assert all(machine.satisfies(item) for item in wanted)
    assert look(desired, machine).empty


def _by_apt(item: Resource) -> bool:
    return isinstance(item, Package) or getattr(item, "early", False)


def _inside(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
