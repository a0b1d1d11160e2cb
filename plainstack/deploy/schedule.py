"""The order of a deploy: the dependency graph of its transactions, and the execution of the graph in threads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from itertools import pairwise
from threading import Event

from plainstack.engine.desired import HostDesired
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Run, UnitAction, ahead_of
from plainstack.engine.resources import Resource, Unit
from plainstack.engine.role import HostWork, Role
from plainstack.errors import HostFailed, PlainstackError
from plainstack.inventory.stack import Stack

PACKAGES = "packages"


@dataclass(frozen=True, order=True)
class Node:
    """One transaction of one host: a role's, or the package transaction."""

    host: str
    stage: str


@dataclass(frozen=True)
class Outcome:
    """The result of a node; times are in seconds since the run began."""

    node: Node
    begin: float
    end: float
    error: HostFailed | None = None
    skipped: str = ""

    def later(self, seconds: float) -> Outcome:
        """Return the outcome with this many seconds added to its times."""
        return replace(self, begin=self.begin + seconds, end=self.end + seconds)


def graph(
    stack: Stack, plans: Mapping[str, HostPlan], roles: Mapping[str, Role], observed: Mapping[str, Observed]
) -> dict[Node, set[Node]]:
    """Return every node with the nodes that it waits for.

    On one host, packages come first, then its roles in order. A role also waits until all hosts have finished the roles
    in its `after` and `follows`, its own actions that run ahead, and those of the roles in its `amid`. If the hosts of
    a role take turns, each also waits for the previous group.
    """
    nodes: dict[Node, set[Node]] = {}
    lost: set[Node] = set()
    for plan in plans.values():
        before: Node | None = None
        if plan.packages:
            before = Node(plan.host, PACKAGES)
            nodes[before] = set()
        for transaction in plan.transactions:
            node = Node(plan.host, transaction.stage)
            nodes[node] = {before} if before else set()
            before = node
            if transaction.lost:
                lost.add(node)
    # A role that is removed comes first on its host; waiting for other roles could create a cycle.
    for node in nodes.keys() - lost:
        role = roles.get(node.stage)
        for name in (*role.after, *role.follows) if role else ():
            if not roles[name].everywhere:
                nodes[node] |= {other for other in nodes if other.stage == name and other != node}
    for role in roles.values():
        early = {node for node in nodes if node.stage in [ahead_of(name) for name in (role.name, *role.amid)]}
        for node in nodes.keys() - lost:
            if node.stage == role.name:
                nodes[node] |= early
        mine = [host for host in plans if Node(host, role.name) in nodes.keys() - lost]
        work = {host: _work(plans[host], role.name, observed[host]) for host in mine}
        for previous, group in pairwise(role.turns(stack, work)):
            for host in group:
                nodes[Node(host, role.name)] |= {Node(other, role.name) for other in previous}
    return nodes


def _work(plan: HostPlan, role: str, seen: Observed) -> HostWork:
    actions = [action for each in plan.transactions if each.role == role for action in each.visible]
    return HostWork(
        frozenset((action.verb, action.unit.name) for action in actions if isinstance(action, UnitAction)),
        frozenset(action.command.id for action in actions if isinstance(action, Run) and action.command.id),
        seen.facts,
    )


def leaving(
    nodes: Mapping[Node, Collection[Node]], plans: Mapping[str, HostPlan], node: Node
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the units that a node stops or restarts, and the other hosts whose units it may be at the same time."""

    def turn(one: Node) -> set[Node]:
        return {before for before in nodes[one] if before.stage == node.stage}

    group = [one for one in nodes if one.stage == node.stage and one != node and turn(one) == turn(node)]
    return _down(plans, node), frozenset(one.host for one in group if _down(plans, one))


def _down(plans: Mapping[str, HostPlan], node: Node) -> frozenset[str]:
    return frozenset(
        action.unit.name
        for each in plans[node.host].transactions
        if each.stage == node.stage
        for action in each.actions
        if isinstance(action, UnitAction) and action.verb in ("restart", "stop")
    )


def execute(
    nodes: Mapping[Node, set[Node]],
    work: Callable[[Node], None],
    settle: Callable[[Node, Node], int],
    cancelled: Event,
    wait_for: Callable[[Node, Mapping[Node, float]], None],
    unseen: Mapping[Node, Mapping[Node, float]] | None = None,
) -> list[Outcome]:
    """Run `work` for every node as soon as the nodes that it waits for are done; return the outcomes by start time.

    Nodes that wait for a failed or skipped node are skipped; once `cancelled` is set, so are all nodes not yet started.
    `settle` returns the seconds that must pass between the end of one node and the start of the next of the same stage;
    `unseen` holds nodes of earlier runs that a node must wait for, each with the seconds from now. `wait_for` is called
    with each node that has to wait and what it waits for, each with the seconds that are left; it returns when they are
    over, or earlier if the wait is no longer needed.
    """
    began = time.monotonic()
    outcomes: dict[Node, Outcome] = {}

    def one(node: Node) -> Outcome:
        def skip(reason: str) -> Outcome:
            now = time.monotonic() - began
            return Outcome(node, now, now, skipped=reason)

        before = [outcomes[other] for other in sorted(nodes[node])]
        # A node that was skipped did not fail itself, so pass on the reason why it was skipped.
        reasons = [f"{other.node.stage} failed on {other.node.host}" for other in before if other.error]
        reasons += [other.skipped for other in before if other.skipped]
        if reasons or cancelled.is_set():
            return skip(reasons[0] if reasons else "interrupted")
        ready = {other: outcomes[other].end + settle(other, node) for other in nodes[node] if other.stage == node.stage}
        now = time.monotonic() - began
        waits = {other: end - now for other, end in {**(unseen or {}).get(node, {}), **ready}.items() if end > now}
        if waits:
            wait_for(node, waits)
            if cancelled.is_set():
                return skip("interrupted")
        begin = time.monotonic() - began
        try:
            work(node)
        except (PlainstackError, OSError) as error:
            # Catch errors of this machine too, so that the results of other hosts are not lost.
            return Outcome(node, begin, time.monotonic() - began, error=_failure(node, error))
        return Outcome(node, begin, time.monotonic() - began)

    sorter = TopologicalSorter(nodes)
    sorter.prepare()
    running: dict[Future[Outcome], Node] = {}
    with ThreadPoolExecutor(max_workers=max(1, min(64, len(nodes)))) as pool:
        while sorter.is_active():
            for node in sorter.get_ready():
                running[pool.submit(one, node)] = node
            done = wait(running, timeout=1.0, return_when=FIRST_COMPLETED).done
            for future in done:
                node = running.pop(future)
                outcomes[node] = future.result()
                sorter.done(node)
    return sorted(outcomes.values(), key=lambda outcome: (outcome.begin, outcome.node))


def _failure(node: Node, error: PlainstackError | OSError) -> HostFailed:
    if isinstance(error, HostFailed):
        return error
    where = "on this machine: " if isinstance(error, OSError) else ""
    return HostFailed(node.host, node.stage, f"{where}{error}")


def settle(plans: Mapping[str, HostPlan], roles: Mapping[str, Role], before: Node, node: Node | None = None) -> int:
    """Return the seconds after the end of `before` until `node` may stop or restart units.

    Without `node`, return the seconds until any peer of `before` may stop or restart units.
    """
    role = roles.get(before.stage)
    came_up = _does(plans, before, "start", "restart")
    goes_down = node is None or _does(plans, node, "restart", "stop")
    return role.settle.seconds if role and role.settle and came_up and goes_down else 0


def unseen(
    plans: Mapping[str, HostPlan],
    roles: Mapping[str, Role],
    desired: Mapping[str, HostDesired],
    observed: Mapping[str, Observed],
) -> dict[Node, dict[Node, float]]:
    """Return the nodes of earlier runs that a node must wait for before it stops or restarts units, with the seconds.

    A node must wait if units of its role have just started on another host: a run that was killed may not have waited
    after it started them.
    """
    waits: dict[Node, dict[Node, float]] = {}
    for name in plans:
        for stage, role in roles.items():
            node = Node(name, stage)
            if role.settle and _does(plans, node, "restart", "stop"):
                others = [other for other in observed if other != name and stage in desired[other]]
                left = {
                    other: role.settle.seconds - _up_for(desired[other][stage], observed[other]) for other in others
                }
                waits[node] = {Node(other, stage): seconds for other, seconds in left.items() if seconds > 0}
    return {node: left for node, left in waits.items() if left}


def _up_for(wanted: Iterable[Resource], seen: Observed) -> float:
    return min(
        (seen.up_for[item.name] for item in wanted if isinstance(item, Unit) and item.name in seen.up_for),
        default=math.inf,
    )


def _does(plans: Mapping[str, HostPlan], node: Node, *verbs: str) -> bool:
    work = [each for each in plans[node.host].transactions if each.stage == node.stage]
    return any(isinstance(action, UnitAction) and action.verb in verbs for each in work for action in each.actions)


def critical_path(outcomes: Sequence[Outcome], nodes: Mapping[Node, set[Node]]) -> list[Outcome]:
    """Return the chain of nodes that determined the duration of the run, first to last."""
    by_node = {outcome.node: outcome for outcome in outcomes if not outcome.skipped}
    chain: list[Outcome] = []
    current = max(by_node.values(), key=lambda outcome: outcome.end, default=None)
    while current:
        chain.append(current)
        current = max(
            (by_node[node] for node in nodes[current.node] if node in by_node),
            key=lambda outcome: outcome.end,
            default=None,
        )
    return chain[::-1]
