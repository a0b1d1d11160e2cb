"""A restart touches the units that it is asked to, in turns, and leaves undeployed changes undeployed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from plainstack.deploy.restart import restarts
from plainstack.deploy.schedule import Node, graph
from plainstack.engine.desired import HostDesired
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, UnitAction
from plainstack.engine.plan.planner import Stamp, plan
from plainstack.engine.resources import Resource, Unit
from plainstack.engine.role import Role
from plainstack.inventory.stack import Stack
from plainstack.services import running
from tests.unit.simulate import Machine

NOW = Stamp("2026-01-01T00:00:00Z", "me@here", "abc")
WEB = "plainstack-web.service"


def everything(wanted: HostDesired) -> list[Resource]:
    return [item for resources in wanted.values() for item in resources]


@pytest.fixture
def deployed(desired: Mapping[str, HostDesired]) -> Mapping[str, Observed]:
    """Return what a probe sees on two hosts after a deploy."""
    seen = {}
    for name in ("app1", "app2"):
        machine, wanted = Machine(), desired[name]
        machine.apply(plan(name, wanted, Observed(), NOW), everything(wanted))
        machine.units = {unit: replace(state, load="loaded") for unit, state in machine.units.items()}
        seen[name] = machine.observed(everything(wanted))
    return seen


def actions(made: HostPlan) -> list[str]:
    return [action.subject() for _, action in made.actions()]


def test_only_the_units_of_the_service_are_restarted(
    desired: Mapping[str, HostDesired], deployed: Mapping[str, Observed]
) -> None:
    made = restarts("app1", desired["app1"], deployed["app1"], [WEB], {WEB: "gate"})
    assert actions(made) == [f"restart {WEB}"]
    [action] = made.transactions[0].actions
    assert isinstance(action, UnitAction)
    assert action.unit.health == "gate"


def test_an_undeployed_change_is_still_pending_after_a_restart(
    desired: Mapping[str, HostDesired], deployed: Mapping[str, Observed]
) -> None:
    def changed(item: Resource) -> Resource:
        return replace(item, restart_on=("a new release",)) if isinstance(item, Unit) and item.name == WEB else item

    wanted = {role: [changed(item) for item in resources] for role, resources in desired["app1"].items()}
    before = plan("app1", wanted, deployed["app1"], NOW)
    assert actions(before) == [f"restart {WEB}"]
    made = restarts("app1", wanted, deployed["app1"], [WEB], {})
    [work] = made.transactions
    [action] = work.actions
    assert isinstance(action, UnitAction)
    after = replace(
        deployed["app1"],
        stamps={**deployed["app1"].stamps, WEB: action.stamp},
        manifest={**deployed["app1"].manifest, work.role: work.manifest},
    )
    assert plan("app1", wanted, after, NOW) == before


def test_a_host_without_the_units_has_nothing_to_restart(desired: Mapping[str, HostDesired]) -> None:
    assert restarts("app1", desired["app1"], Observed(), [WEB], {}).empty


def test_hosts_take_turns_as_in_a_deploy(
    stack: Stack, desired: Mapping[str, HostDesired], deployed: Mapping[str, Observed], registry: Mapping[str, Role]
) -> None:
    plans = {name: restarts(name, desired[name], deployed[name], [WEB], {}) for name in deployed}
    assert graph(stack, plans, registry, deployed) == {
        Node("app1", "app"): set(),
        Node("app2", "app"): {Node("app1", "app")},
    }


def test_a_health_gate_expects_the_release_that_the_host_runs(stack: Stack) -> None:
    host = stack.hosts["app1"]
    gates = running.healths(stack, "web", host, running.process_units(stack, "web", host), "0123456789ab")
    assert "0123456789ab" in gates[WEB]


def test_one_process_can_be_chosen(stack: Stack, desired: Mapping[str, HostDesired]) -> None:
    units = {item.name for item in everything(desired["app1"]) if isinstance(item, Unit)}
    found = running.process_units(stack, "web", stack.hosts["app1"], "web")
    assert found == {WEB: "web"}
    assert set(found) <= units
    assert running.process_units(stack, "web", stack.hosts["db1"]) == {}
