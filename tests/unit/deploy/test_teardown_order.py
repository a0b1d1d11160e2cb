"""The order of a teardown over hosts: what uses a role is gone before the role is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from plainstack.deploy.schedule import Node
from plainstack.deploy.teardown import graph
from plainstack.engine.kinds.path_actions import Remove
from plainstack.engine.plan.actions import HostPlan, Transaction
from plainstack.engine.role import Role, of_host
from plainstack.engine.teardown.farewell import STAGE, Farewell
from plainstack.inventory.stack import Stack
from tests.unit.deploy.test_schedule import before

WORK = (Remove("/x", "file", "undeclared", "no longer declared"),)


@pytest.fixture
def plans(stack: Stack, registry: Mapping[str, Role]) -> dict[str, HostPlan]:
    """Return the teardown of every role on every host of the default stack."""
    return {
        name: HostPlan(
            name,
            None,
            tuple(Transaction(role.name, WORK) for role in reversed(of_host(host, dict(registry)))),
            Farewell(),
        )
        for name, host in stack.hosts.items()
    }


def test_clients_go_before_their_servers_and_every_host_ends_with_its_packages(
    plans: Mapping[str, HostPlan], registry: Mapping[str, Role]
) -> None:
    nodes = graph(plans, registry)
    databases = [node for node in nodes if node.stage == "db"]
    assert databases
    for node in databases:
        earlier = before(nodes, node)
        users = {one for one in nodes if one.stage in ("app", "worker", "backup")}
        assert users
        assert users <= earlier
    for name, plan in plans.items():
        last = before(nodes, Node(name, STAGE))
        assert {Node(name, work.stage) for work in plan.transactions} <= last


def test_roles_of_every_host_wait_for_no_other_host(
    plans: Mapping[str, HostPlan], registry: Mapping[str, Role]
) -> None:
    nodes = graph(plans, registry)
    everywhere = {name for name, role in registry.items() if role.everywhere}
    for node in nodes:
        if node.stage in everywhere:
            assert {other.host for other in nodes[node]} <= {node.host}
