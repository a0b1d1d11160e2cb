"""Decides the phases of a planned switchover: pure generators, which change nothing themselves."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from plainstack.errors import AlreadySo, Refused
from plainstack.postgresql.failover.phases import (
    NEAR,
    Do,
    Phase,
    Plan,
    Step,
    candidate,
    follow,
    most_advanced,
    not_degraded,
    one_history,
    receive_from_new_primary,
    remove_fences,
    require_an_answer,
    shut_down_cleanly,
)
from plainstack.postgresql.observation import Node, Topology
from plainstack.postgresql.topology import position
from plainstack.wording import size


def switchover(now: Topology, target: str = "") -> Plan:
    """Hand over from the primary to a standby: no writes are lost, and nothing needs to be rewound."""
    if target:
        now.node(target)
    one_history(now)
    if now.primaries:
        old = now.primaries[0]
        if target in ("", old.name) and (idle := _handed_over(now)):
            yield from _settle(now, idle, old)
            return
        chosen = _chosen(now, old, target)
        now = yield (
            Step(Do.CHECKPOINT, old.name, "write a checkpoint, so that PostgreSQL stops quickly"),
            *not_degraded(chosen),
            *remove_fences(now, chosen.name),
        )
        now = yield (Step(Do.STEP_DOWN, old.name, "stop PostgreSQL; it will start as a replica"),)
        old, chosen = now.node(old.name), now.node(chosen.name)
    elif len(now.standbys) == len(now.nodes):
        # An earlier run was interrupted between the two steps of the handover. All hosts answer, so the most advanced
        # standby has all writes.
        chosen = candidate(now, target)
        now = yield (Step(Do.PROMOTE, chosen.name, "become the primary"),)
        yield from _settle(now, [node for node in now.standbys if node.name != chosen.name], now.node(chosen.name))
        return
    else:
        old = _handing_over(now)
        if not now.standbys:
            raise Refused(f"no replica runs, and {old.name} is stopped. Start it as the primary: fab failover promote")
        chosen = most_advanced(now, target)
    now = yield from _hand_over(now, old, chosen)
    yield from _settle(now, [now.node(old.name)], now.node(chosen.name))


def _handed_over(now: Topology) -> list[Node]:
    """Return the standbys that an interrupted switchover shut down cleanly and did not start again."""
    return [node for node in now.nodes.values() if node.state == "stopped standby" and node.clean]


def _chosen(now: Topology, old: Node, target: str) -> Node:
    if target == old.name:
        raise AlreadySo(f"{target} is the primary already")
    if now.fenced_everywhere(old.name):
        raise Refused(f"{old.name} was fenced off by a promotion that did not finish. Finish it: fab failover promote")
    chosen = now.node(target) if target else most_advanced(now, "")
    if chosen.state != "standby":
        raise Refused(f"{chosen.name} is {chosen.described}, not a running replica. {_help(chosen)}")
    if chosen.timeline != old.timeline:
        raise Refused(
            f"{chosen.name} is on timeline {chosen.timeline}, the primary {old.name} on {old.timeline}. Bring"
            f" {chosen.name} back first: fab failover rejoin --host={chosen.name}"
        )
    sender = old.sender(chosen.name)
    if chosen.upstream != old.name or sender is None:
        raise Refused(
            f"{chosen.name} does not stream from {old.name}. Bring it back first: fab failover rejoin"
            f" --host={chosen.name}"
        )
    if sender.lag_bytes > NEAR:
        raise Refused(
            f"{chosen.name} is {size(sender.lag_bytes)} behind {old.name}, so writes would wait until it has"
            " caught up. Look again later: fab failover status"
        )
    if now.barman:
        barman = old.sender(now.barman)
        if barman is None or barman.lag_bytes > NEAR:
            state = (
                f"does not stream WAL from {old.name}"
                if barman is None
                else f"is {size(barman.lag_bytes)} behind {old.name}"
            )
            raise Refused(
                f"Barman {state}, so a switchover now would leave a gap in the backups. Check its receiver (inv"
                " status), or look again later: fab failover status"
            )
    return chosen


def _handing_over(now: Topology) -> Node:
    """Return the old primary of an interrupted switchover, or a primary that someone shut down cleanly.

    Raises Refused if there is none.
    """
    require_an_answer(now)
    old = shut_down_cleanly(now)
    if old is None:
        others = ", ".join(f"{node.name} is {node.described}" for node in now.nodes.values() if node.state != "standby")
        raise Refused(
            f"there is no primary to switch over from: {others}. If one of them is starting or stopping, type"
            " this again in a moment. If the primary is lost: fab failover promote"
        )
    return old


def _hand_over(now: Topology, old: Node, chosen: Node) -> Generator[Phase, Topology, Topology]:
    if not old.clean:
        raise Refused(
            f"{old.name} was not shut down cleanly ({old.cluster or old.state}), so it may have writes that"
            f" {chosen.name} lacks. Promote the host with the most writes: fab failover promote"
        )
    if position(chosen.lsn) <= position(old.lsn):
        now = yield (Step(Do.AWAIT_WAL, chosen.name, f"receive the last WAL of {old.name}", (old.lsn,), optional=True),)
        chosen = now.node(chosen.name)
        if position(chosen.lsn) <= position(old.lsn):
            yield (Step(Do.STEP_BACK, old.name, "start again as the primary"),)
            raise Refused(
                f"{chosen.name} did not receive the last WAL of {old.name}, so {old.name} is the primary again."
                " Nothing is lost. To see why: fab failover status"
            )
    if old.state == "stopped primary":
        # Someone stopped the old primary. Make it a standby before the promotion: otherwise it would start as a second
        # primary.
        now = yield (Step(Do.START, old.name, "start as a replica"),)
    # Do both at the same time: with synchronous replication, writes wait until the old primary follows.
    now = yield (
        Step(Do.PROMOTE, chosen.name, "become the primary"),
        Step(Do.START, old.name, f"start as a replica of {chosen.name}"),
    )
    return now


def _settle(now: Topology, idle: Sequence[Node], leader: Node) -> Plan:
    """Yield the phases after a handover: all hosts follow the new primary, and the old primary drops its slots."""
    starts = tuple(
        Step(Do.START, node.name, f"start as a replica of {leader.name}")
        for node in idle
        if node.state == "stopped standby"
    )
    if starts:
        now = yield starts
    steps = (
        *follow(now, leader),
        *(Step(Do.TIDY, node.name, "drop the slots that it kept as the primary") for node in idle),
        *receive_from_new_primary(now),
    )
    if steps:
        yield steps


def _help(node: Node) -> str:
    if node.state == "unreachable":
        return "Make it reachable first"
    return f"Bring it back first: fab failover rejoin --host={node.name}"
