"""Decides the phases of a promotion after the primary has failed: pure generators, which change nothing themselves."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from plainstack.errors import AlreadySo, Refused
from plainstack.postgresql.failover.phases import (
    Do,
    Phase,
    Plan,
    Step,
    candidate,
    fenced_off,
    follow,
    one_history,
    receive_from_new_primary,
    remove_fences,
    require_an_answer,
)
from plainstack.postgresql.observation import Node, Topology


def promote(now: Topology, target: str = "") -> Plan:
    """Fence off the failed primary, and promote `target` or the most advanced standby."""
    if target:
        now.node(target)
    require_an_answer(now)
    leading = [node for node in now.primaries if not now.fenced_everywhere(node.name)]
    if leading:
        yield from _finish_promotion(now, leading, target)
        return
    _refuse_unseen_primary(now)
    now = yield from _wake(now, target)
    if any(not now.fenced_everywhere(node.name) for node in now.primaries):
        return
    chosen = _chosen(now, target)
    if not target:
        _refuse_unseen_writes(now, chosen)
    now = yield from _fence(now)
    # Choose again after fencing: until then, a standby may still receive WAL.
    chosen = _chosen(now, target)
    alone = now.synchronous and len(now.standbys) == 1
    says = (
        "become the primary; no other db host answers, so writes will not wait for a replica"
        if alone
        else "become the primary"
    )
    now = yield (Step(Do.PROMOTE_ALONE if alone else Do.PROMOTE, chosen.name, says), *remove_fences(now, chosen.name))
    yield from _after_promotion(now, now.node(chosen.name))


def _finish_promotion(now: Topology, leading: Sequence[Node], target: str) -> Plan:
    one_history(now)
    (leader,) = leading
    begun = [node for node in _gone(now) if now.fencing(node.name)]
    if not begun or (target and target != leader.name):
        if target == leader.name:
            raise AlreadySo(f"{leader.name} is the primary already")
        raise Refused(f"{leader.name} is the primary and answers. For a planned handover: fab failover switchover")
    if not list(_fence_steps(now)) and all(node.upstream == leader.name for node in now.standbys):
        left = [f"{'' if node.reachable else f'when {node.name} answers, '}{_rejoin(node)}" for node in begun]
        raise AlreadySo(f"{leader.name} is the primary already. Next: {', '.join(left)}")
    now = yield from _fence(now)
    yield from _after_promotion(now, now.node(leader.name))


def _rejoin(node: Node) -> str:
    return f"fab failover rejoin --host={node.name}"


def _wake(now: Topology, target: str) -> Generator[Phase, Topology, Topology]:
    """Start stopped servers that may have the newest data, and return the topology observed afterwards."""
    asleep = [node for node in now.nodes.values() if node.stopped and not node.rewinding]
    if not target and (old := _stopped_leader(now, asleep)) and (old.degraded or not now.standbys):
        says = "stop PostgreSQL, and keep it from starting as a primary"
        if past := tuple(Step(Do.KEEP_OUT, node.name, says) for node in now.primaries):
            now = yield past
        why = "it acknowledged writes that no replica has" if old.degraded else "no replica runs"
        now = yield (Step(Do.STEP_BACK, old.name, f"{why}: start it again as the primary", optional=True),)
    asleep = [node for node in now.nodes.values() if node.stopped and not node.rewinding]
    if target:
        asleep = [node for node in asleep if node.name == target]
    else:
        asleep = [node for node in asleep if node.state == "stopped standby" and not fenced_off(now, node)]
    if asleep:
        says = "start as a replica, to see what data it has"
        now = yield tuple(Step(Do.WAKE, node.name, says, optional=True) for node in asleep)
    return now


def _stopped_leader(now: Topology, asleep: Sequence[Node]) -> Node | None:
    """Return the stopped primary that cannot have a successor: all other db hosts answer, none on a newer timeline.

    A fenced-off primary is excluded, because a promotion has replaced it.
    """
    leaders = [node for node in asleep if node.state == "stopped primary" and not fenced_off(now, node)]
    if len(leaders) != 1:
        return None
    others = [node for node in now.nodes.values() if node.name != leaders[0].name]
    known = all(node.heard and node.timeline <= leaders[0].timeline for node in others)
    known = known and all(node.timeline < leaders[0].timeline for node in now.primaries)
    return leaders[0] if known else None


def _refuse_unseen_primary(now: Topology) -> None:
    for node in now.nodes.values():
        witnesses = [peer.name for peer in now.standbys if node.name in peer.answering]
        if node.state == "unreachable" and witnesses:
            raise Refused(
                f"{node.name} does not answer over SSH, but its PostgreSQL answers {witnesses[0]}, so it may be a"
                f" working primary. Make {node.name} reachable over SSH and look again: fab failover status. To"
                " promote without it, power it off first"
            )


def _chosen(now: Topology, target: str) -> Node:
    """Return the host to promote. Raises Refused if a promotion replaced it, unless the operator named it."""
    chosen = candidate(now, target)
    if not target and fenced_off(now, chosen):
        raise Refused(
            f"{chosen.name} has been fenced off since an earlier promotion, so it lacks the writes made since."
            " Bring back a host that has them. To continue and lose those writes: fab failover promote --to="
            + chosen.name
        )
    return chosen


def _refuse_unseen_writes(now: Topology, chosen: Node) -> None:
    """Raise Refused if a host besides the failed primary may have confirmed writes and cannot be compared."""
    missing = [node for node in now.nodes.values() if node.state not in ("standby", "empty")]
    missing = [node for node in missing if not fenced_off(now, node)]
    stopped = [node for node in missing if node.state == "stopped standby" or node.degraded]
    if not stopped and (len(missing) < 2 or not now.synchronous):
        return
    unsure = stopped or missing
    what = " and ".join(f"{node.name} is {node.described}" for node in unsure)
    bring = "See why it does not start (its journal is above)" if stopped else "Make it answer"
    raise Refused(
        f"{what}, and may have writes that {chosen.name} lacks. {bring}, and type this again. To continue without"
        f" them: fab failover promote --to={chosen.name}"
    )


def _gone(now: Topology) -> list[Node]:
    """Return the hosts that are, were or may be a primary, except the newly promoted one."""
    leading = [node for node in now.primaries if not now.fenced_everywhere(node.name)]
    return [
        node
        for node in now.nodes.values()
        if node not in leading and node.state in ("unreachable", "silent", "stopped primary", "primary")
    ]


def _fence(now: Topology) -> Generator[Phase, Topology, Topology]:
    steps = tuple(_fence_steps(now))
    if steps:
        now = yield steps
    return now


def _fence_steps(now: Topology) -> Iterator[Step]:
    gone = _gone(now)
    for node in gone:
        if node.reachable and not (node.fenced and node.state == "stopped primary"):
            # Optional: if the host cannot be stopped, the others still fence it off, as with an unreachable host.
            says = "stop PostgreSQL, and keep it from starting as a primary"
            yield Step(Do.KEEP_OUT, node.name, says, optional=True)
    names = [node.name for node in gone]
    for node in now.nodes.values():
        missing = tuple(name for name in names if name not in node.fences and name != node.name)
        if missing and node.reachable and node not in gone:
            yield Step(Do.FENCE, node.name, f"fence off {', '.join(missing)}", missing)
    for client, fences in now.clients.items():
        missing = tuple(name for name in names if fences is not None and name not in fences)
        if missing:
            yield Step(Do.FENCE, client, f"fence off {', '.join(missing)}", missing, optional=True)


def _after_promotion(now: Topology, leader: Node) -> Plan:
    stubborn = [node for node in _gone(now) if not node.reachable]
    steps = (
        *follow(now, leader),
        *receive_from_new_primary(now),
        *(Step(Do.KEEP_OUT, node.name, "try again to stop PostgreSQL", optional=True) for node in stubborn),
        *(Step(Do.SITE, host, "request the site through the balancer", optional=True) for host in now.site_from),
    )
    if steps:
        yield steps
