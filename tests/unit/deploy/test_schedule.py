"""The order of a deploy: which roles and hosts wait for which, and what is not done after a failure or Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import pairwise

import pytest

from plainstack.deploy.schedule import PACKAGES, Node, Outcome, critical_path, execute, graph
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import Action, HostPlan, PackageTransaction, Run, Transaction, UnitAction
from plainstack.engine.resources import Command, Unit
from plainstack.engine.role import Role, of_host
from plainstack.errors import HostFailed, Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.layout import UNIT
from plainstack.roles.db import lower_limit

WORK = (Run(Command(name="x", why="w", run="r", unless="u")),)
Nodes = dict[Node, set[Node]]


def plan_of(host: str, *stages: str, lost: tuple[str, ...] = ()) -> HostPlan:
    packages = PackageTransaction(install=("x",)) if PACKAGES in stages else None
    roles = [*lost, *(stage for stage in stages if stage != PACKAGES)]
    return HostPlan(host, packages, tuple(Transaction(role, WORK, lost=role in lost) for role in roles))


@pytest.fixture
def cold(stack: Stack, registry: Mapping[str, Role]) -> Nodes:
    """Return the graph of a first deploy: every role on every host of the default stack."""
    plans = {
        name: plan_of(name, PACKAGES, *(role.name for role in of_host(host, dict(registry))))
        for name, host in stack.hosts.items()
    }
    return graph(stack, plans, registry, dict.fromkeys(plans, Observed()))


def before(nodes: Nodes, node: Node) -> set[Node]:
    """Return all nodes that must be done before a node."""
    found: set[Node] = set()
    left = [node]
    while left:
        new = nodes[left.pop()] - found
        found |= new
        left += new
    return found


def run(nodes: Nodes, *bad: Node, cancel_at: Node | None = None) -> tuple[list[Outcome], list[Node]]:
    """Execute a graph; return the outcomes, and the nodes in the order in which they ended."""
    cancelled, ended, lock = threading.Event(), list[Node](), threading.Lock()

    def work(node: Node) -> None:
        with lock:
            assert nodes[node] <= set(ended), "begun before what it waits for had ended"
        if node == cancel_at:
            cancelled.set()
        if node in bad:
            raise HostFailed(node.host, node.stage, "broken")
        with lock:
            ended.append(node)

    return execute(nodes, work, lambda *_: 0, cancelled, lambda *_: None), ended


def test_all_hosts_start_together_with_their_packages(cold: Nodes, stack: Stack) -> None:
    assert {node for node, waits in cold.items() if not waits} == {Node(name, PACKAGES) for name in stack.hosts}


def test_on_one_host_packages_come_first_and_then_roles_in_order(cold: Nodes) -> None:
    assert cold[Node("db1", "base")] == {Node("db1", PACKAGES)}
    assert cold[Node("db1", "firewall")] == {Node("db1", "base")}
    assert cold[Node("db1", "db")] == {Node("db1", "firewall")}


def test_a_role_waits_on_all_hosts_only_for_the_roles_that_it_comes_after(cold: Nodes) -> None:
    assert {node for node in before(cold, Node("bak1", "backup")) if node.stage == "db"} == {
        Node("db1", "db"),
        Node("db2", "db"),
    }
    assert {other.host for other in before(cold, Node("mon1", "monitoring"))} == {"mon1"}, "it needs no other host"


def test_a_balancer_changes_only_after_all_app_hosts_have(cold: Nodes) -> None:
    assert {Node("app1", "app"), Node("app2", "app")} <= cold[Node("lb1", "balancer")]


def test_steps_ahead_of_the_turns_are_done_on_all_hosts_before_the_first_turn(
    stack: Stack, registry: Mapping[str, Role]
) -> None:
    plans = {
        host: HostPlan(host, None, (Transaction("app", WORK, ahead=True), Transaction("app", WORK)))
        for host in ("app1", "app2")
    }
    nodes = graph(stack, plans, registry, dict.fromkeys(plans, Observed()))
    built = {Node(host, "app.ahead") for host in plans}
    assert {node for node, waits in nodes.items() if not waits} == built
    assert nodes[Node("app1", "app")] == built
    outcomes, _ = run(nodes, Node("app2", "app.ahead"))
    assert {o.node: o.skipped for o in outcomes if o.skipped} == {
        Node(host, "app"): "app.ahead failed on app2" for host in plans
    }


def test_rolling_roles_change_one_host_after_the_other_in_inventory_order(cold: Nodes) -> None:
    assert Node("app1", "app") in cold[Node("app2", "app")]
    assert Node("lb1", "balancer") in cold[Node("lb2", "balancer")]
    assert Node("db1", "db") not in before(cold, Node("db2", "db"))


PRIMARY = {"data": "yes", "running": "yes", "recovery": "false"}
STANDBY = {"data": "yes", "running": "yes", "recovery": "true", "signal": "yes"}
RESTART = UnitAction("restart", Unit(name=UNIT), "changed", "")
START = UnitAction("start", Unit(name=UNIT), "new", "")
WAIT = Run(lower_limit(50))


@pytest.mark.parametrize(
    ("work", "turns"),
    [
        ({"a": [RESTART], "b": [RESTART], "c": [RESTART]}, ["b", "c", "a"]),
        ({"a": [RESTART], "b": [WAIT, RESTART], "c": [WAIT, RESTART]}, ["a", "b", "c"]),
        ({"a": [RESTART], "b": [*WORK], "c": [RESTART]}, ["c", "a"]),
        # A new standby needs the primary's slots and rules, so the primary must not wait for it.
        ({"a": [RESTART], "b": [START]}, ["a"]),
        ({"a": [*WORK], "b": [*WORK]}, []),
    ],
)
def test_databases_restart_one_by_one_and_the_primary_last_unless_a_limit_is_lowered(
    stack: Stack, registry: Mapping[str, Role], work: dict[str, list[Action]], turns: list[str]
) -> None:
    plans = {host: HostPlan(host, None, (Transaction("db", tuple(actions)),)) for host, actions in work.items()}
    observed = {host: Observed(facts=PRIMARY if host == "a" else STANDBY) for host in plans}
    nodes = graph(stack, plans, registry, observed)
    expected = {Node(host, "db"): set[Node]() for host in plans}
    expected |= {Node(host, "db"): {Node(previous, "db")} for previous, host in pairwise(turns)}
    assert nodes == expected


def test_every_stage_runs_once_and_not_too_early(cold: Nodes) -> None:
    outcomes, ended = run(cold)
    assert sorted(ended) == sorted(cold)
    assert [outcome for outcome in outcomes if outcome.error or outcome.skipped] == []


def test_a_failure_stops_only_the_stages_that_depend_on_it(cold: Nodes) -> None:
    bad = Node("db2", "db")
    outcomes, ended = run(cold, bad)
    not_done = {outcome.node: outcome.skipped for outcome in outcomes if outcome.node not in ended}
    assert not_done == {
        bad: "",
        Node("bak1", "backup"): "db failed on db2",
        Node("app1", "app"): "db failed on db2",
        Node("app2", "app"): "db failed on db2",
        Node("lb1", "assets"): "db failed on db2",
        Node("lb2", "assets"): "db failed on db2",
        Node("lb1", "assets_in_use"): "db failed on db2",
        Node("lb2", "assets_in_use"): "db failed on db2",
        Node("lb1", "balancer"): "db failed on db2",
        Node("lb2", "balancer"): "db failed on db2",
    }
    assert next(outcome.error for outcome in outcomes if outcome.node == bad)


def test_a_rolling_role_stops_at_its_first_failed_host(cold: Nodes) -> None:
    outcomes, ended = run(cold, Node("app1", "app"))
    later = [Node(host, role) for host in ("lb1", "lb2") for role in ("assets_in_use", "balancer")]
    not_attempted = (Node("app2", "app"), *later)
    skipped = {outcome.node: outcome.skipped for outcome in outcomes if outcome.skipped}
    assert skipped == dict.fromkeys(not_attempted, "app failed on app1")
    assert Node("mon1", "monitoring") in ended


def test_a_skipped_stage_is_not_reported_as_failed(cold: Nodes) -> None:
    outcomes, _ = run(cold, Node("db1", "base"))
    assert {o.skipped for o in outcomes if o.skipped} == {"base failed on db1"}


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (Refused("the answer is cut short"), "the answer is cut short"),
        (OSError(28, "No space left on device", "/x"), "on this machine: [Errno 28] No space left on device: '/x'"),
    ],
)
def test_an_unexpected_error_fails_its_host_and_keeps_the_results_of_the_others(
    error: Exception, reported: str
) -> None:
    nodes: Nodes = {Node("a", "base"): set(), Node("b", "base"): set()}

    def work(node: Node) -> None:
        if node.host == "a":
            raise error

    bad, good = execute(nodes, work, lambda *_: 0, threading.Event(), lambda *_: None)
    bad, good = sorted((bad, good), key=lambda outcome: outcome.node)
    assert str(bad.error) == f"a: base: {reported}"
    assert good.error is None


def test_after_ctrl_c_no_new_stage_starts_and_running_stages_finish(cold: Nodes) -> None:
    at = Node("db1", "base")
    outcomes, ended = run(cold, cancel_at=at)
    assert at in ended
    skipped = {outcome.node: outcome.skipped for outcome in outcomes if outcome.skipped}
    assert {Node("db1", "firewall"), Node("app1", "app"), Node("bak1", "backup")} <= set(skipped)
    assert set(skipped.values()) == {"interrupted"}
    assert {outcome.node for outcome in outcomes} == set(cold)


def test_a_role_that_is_removed_from_a_host_does_not_wait_for_itself(
    stack: Stack, registry: Mapping[str, Role]
) -> None:
    """A host loses all roles except db. Its role app is removed first, and must not wait for db on the same host."""
    plans = {
        "app1": plan_of("app1", "base", "firewall", "db", lost=("app", "balancer")),
        "app2": plan_of("app2", "base", "firewall", "app", "balancer"),
    }
    for order in (plans, dict(reversed(plans.items()))):
        outcomes, _ = run(graph(stack, order, registry, dict.fromkeys(plans, Observed())))
        assert len(outcomes) == 9


def test_the_critical_path_is_the_chain_that_determined_the_duration() -> None:
    a, b, c, d = (Node(name, "base") for name in "abcd")
    nodes: Nodes = {a: set(), b: set(), c: {a, b}, d: set()}
    times = {a: (0.0, 1.0), b: (0.0, 3.0), c: (3.0, 4.0), d: (0.0, 2.0)}
    outcomes = [Outcome(node, *span) for node, span in times.items()]
    assert [outcome.node for outcome in critical_path(outcomes, nodes)] == [b, c]
    assert critical_path([], {}) == []
