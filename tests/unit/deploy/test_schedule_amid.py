"""A role with `amid`: it comes after what another role runs ahead, and before everything else of that role."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from plainstack.deploy.schedule import Node, graph
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Run, Transaction
from plainstack.engine.plan.ahead import amid
from plainstack.engine.resources import Command
from plainstack.engine.role import Role, assigned, hosts_of, of_host
from plainstack.inventory.stack import Stack

WORK = (Run(Command(name="x", why="w", run="r", unless="u")),)


def plan_of(host: str, *stages: str) -> HostPlan:
    """Return a plan with these stages, as the planner orders them: each role's own together."""
    work = [Transaction(stage.removesuffix(".ahead"), WORK, ahead=stage.endswith(".ahead")) for stage in stages]
    return amid(HostPlan(host, None, tuple(work)), {"assets": ("app",)})


def waits(nodes: Mapping[Node, set[Node]], node: Node) -> set[Node]:
    """Return all nodes that must be done before a node."""
    found: set[Node] = set()
    left = [node]
    while left:
        new = nodes[left.pop()] - found
        found |= new
        left += new
    return found


def test_every_balancer_has_the_files_after_all_builds_and_before_the_first_switch(
    stack: Stack, registry: Mapping[str, Role]
) -> None:
    plans = {
        **{host: plan_of(host, "assets", "assets_in_use", "balancer") for host in ("lb1", "lb2")},
        **{host: plan_of(host, "app.ahead", "app") for host in ("app1", "app2")},
    }
    nodes = graph(stack, plans, registry, dict.fromkeys(plans, Observed()))
    built = {Node(host, "app.ahead") for host in ("app1", "app2")}
    brought = {Node(host, "assets") for host in ("lb1", "lb2")}
    for node in brought:
        assert waits(nodes, node) == built
    assert built | brought <= waits(nodes, Node("app1", "app"))
    assert {Node("app1", "app"), Node("app2", "app")} <= waits(nodes, Node("lb1", "assets_in_use"))
    assert Node("lb1", "assets_in_use") in waits(nodes, Node("lb1", "balancer"))


@pytest.mark.parametrize(
    ("stages", "order"),
    [
        (("db", "assets", "app.ahead", "app", "balancer"), ["db", "app.ahead", "assets", "app", "balancer"]),
        (("assets", "app", "balancer"), ["assets", "app", "balancer"]),
        (("app.ahead", "app"), ["app.ahead", "app"]),
    ],
)
def test_on_a_host_with_both_roles_the_builds_come_first(
    stack: Stack, registry: Mapping[str, Role], stages: tuple[str, ...], order: list[str]
) -> None:
    plan = plan_of("app1", *stages)
    assert [work.stage for work in plan.transactions] == order
    nodes = graph(stack, {"app1": plan}, registry, {"app1": Observed()})
    for number, stage in enumerate(order):
        assert waits(nodes, Node("app1", stage)) == {Node("app1", before) for before in order[:number]}


def test_the_role_is_on_the_balancers_and_no_inventory_lists_it(stack: Stack, registry: Mapping[str, Role]) -> None:
    assert [host.name for host in hosts_of(stack, registry["assets"])] == ["lb1", "lb2"]
    assert "assets" in [role.name for role in of_host(stack.hosts["lb1"], registry)]
    assert "assets" not in [role.name for role in of_host(stack.hosts["app1"], registry)]
    assert "assets" not in assigned(registry)
