"""Decides how hosts rejoin, and how the primary runs without a standby: pure generators of phases."""

from __future__ import annotations

from collections.abc import Generator

from plainstack.errors import AlreadySo, NotDeployed, Refused
from plainstack.postgresql.failover.phases import (
    Do,
    Phase,
    Plan,
    Step,
    names_of,
    not_degraded,
    one_history,
    remove_fences,
    require_an_answer,
    successor,
)
from plainstack.postgresql.observation import Node, Topology, newest


def rejoin(now: Topology, host: str = "", *, discard: bool = False) -> Plan:
    """Make every host that does not follow the primary a standby of it; only `host` if given.

    With `discard`, a host that cannot follow with its own data deletes the data before it copies the primary's.
    """
    leader = _leader(now, host)
    if host:
        node = now.node(host)
        if host == leader.name:
            raise Refused(f"{host} is the primary, so there is nothing to rejoin")
        if not node.reachable:
            raise Refused(f"{host} does not answer. Bring it back (power, network, SSH) and type this again")
    strayed = [node.name for node in now.nodes.values() if _strayed(now, leader, node) and host in ("", node.name)]
    away = [name for name in strayed if not now.node(name).reachable]
    if away and len(away) == len(strayed):
        raise Refused(f"no answer from {', '.join(away)}. Bring it back (power, network, SSH) and type this again")
    bare = [name for name in strayed if now.node(name).state == "empty" and not now.node(name).configured]
    if bare:
        raise NotDeployed(bare)
    strangers = [name for name in strayed if name != host and _other_cluster(leader, now.node(name))]
    if strangers:
        copies = ", ".join(f"fab failover rejoin --host={name}" for name in strangers)
        raise Refused(
            f"the data of {' and '.join(strangers)} belongs to another cluster, so it is not an older state of"
            f" {leader.name}. To replace it with a copy of {leader.name}: {copies}"
        )
    if now.fencing(leader.name) and not _may_be_another(now, leader):
        now = yield tuple(remove_fences(now, leader.name))
    for name in strayed:
        if name not in away:
            now = yield from _rejoin(now, name, leader.name, discard)
    leader = now.node(leader.name)
    if leader.degraded and any(node.upstream == leader.name for node in now.standbys):
        yield (Step(Do.RESYNC, leader.name, "wait for a replica again before a write is acknowledged"),)


def _leader(now: Topology, given_up: str) -> Node:
    """Return the primary that the other hosts should follow. Raises Refused if that is not certain.

    Of two primaries that cannot be compared, return the one that is not `given_up`, the host that the operator rejoins.
    """
    require_an_answer(now)
    leading = [node for node in now.primaries if not now.fenced_everywhere(node.name)] or now.primaries
    if not leading:
        raise Refused("there is no primary to follow. Make one first: fab failover promote")
    if now.fenced_everywhere(leading[0].name) and now.standbys:
        raise Refused(
            f"{leading[0].name} was fenced off by a promotion that did not finish. Finish it: fab failover promote"
        )
    best = newest(leading)
    if after := successor(now, best):
        raise Refused(
            f"{after.name} has a newer history (timeline {after.timeline}) than the primary {best.name} (timeline"
            f" {best.timeline}), which is fenced off. Make {after.name} the primary again first:"
            " fab failover promote"
        )
    rivals = [node for node in leading if node.timeline == best.timeline or _other_cluster(best, node)]
    if len(rivals) > 1:
        kept = [node for node in rivals if node.name != given_up]
        if len(kept) == 1:
            return kept[0]
        choices = ", or ".join(f"fab failover rejoin --host={node.name}" for node in rivals)
        raise Refused(
            f"two primaries that cannot be compared: {names_of(rivals, timeline=True)}. Choose whose writes to"
            f" keep. The host that you name here is stopped and becomes a copy of the other: {choices}"
        )
    return best


def _other_cluster(one: Node, other: Node) -> bool:
    """Return whether the data of two hosts belongs to different clusters."""
    known = one.system_identifier and other.system_identifier
    return bool(known) and one.system_identifier != other.system_identifier


def _strayed(now: Topology, leader: Node, node: Node) -> bool:
    if node.name == leader.name:
        return False
    whole = node.state == "standby" and node.upstream == leader.name and not node.fenced
    return not whole or bool(now.fencing(node.name) or node.degraded or node.old_data)


def _may_be_another(now: Topology, leader: Node) -> list[str]:
    """Return the hosts that may have replaced a fenced-off primary: other primaries, and hosts that do not answer."""
    others = [node for node in now.nodes.values() if node.name != leader.name]
    return [node.name for node in others if node.state in ("unreachable", "silent", "primary")]


def _rejoin(now: Topology, name: str, leader: str, discard: bool) -> Generator[Phase, Topology, Topology]:
    node = now.node(name)
    was_primary = node.state in ("primary", "stopped primary")
    if node.state in ("primary", "silent") or (node.state == "stopped primary" and not node.fenced):
        now = yield (Step(Do.KEEP_OUT, name, "stop PostgreSQL, and keep it from starting as a primary"),)
    # The primary may lack the slot. With a leftover degraded setting, the standby would acknowledge writes alone after
    # its promotion.
    now = yield (
        *remove_fences(now, name),
        Step(Do.TIDY, leader, f"prepare a replication slot for {name}"),
        *not_degraded(node),
    )
    node = now.node(name)
    if node.state in ("standby", "stopped standby") and not node.rewinding and node.upstream != leader:
        if node.state == "stopped standby":
            now = yield (Step(Do.START, name, f"start as a replica of {leader}"),)
        now = yield (Step(Do.FOLLOW, name, f"stream from {leader}", (leader,), optional=True),)
        node = now.node(name)
        if node.upstream != leader:
            now = yield (
                Step(Do.KEEP_OUT, name, "stop PostgreSQL: its data must be rewound or replaced before it can follow"),
            )
            node = now.node(name)
    if node.upstream != leader:
        # pg_rewind considers two servers on the same timeline identical, even if both have written since.
        split = was_primary and node.timeline == now.node(leader).timeline
        if node.state != "empty" and not node.rewinding and not discard and not split:
            now = yield (Step(Do.REWIND, name, f"undo the writes that {leader} does not have", (leader,)),)
            node = now.node(name)
        if node.state == "empty" or node.rewinding or discard or split:
            why = f", because its own could not be rewound: {node.rewinding}" if node.rewinding else ""
            verb = Do.CLONE_OVER if discard else Do.CLONE
            now = yield (Step(verb, name, f"copy the whole database from {leader}{why}", (leader,)),)
        now = yield (Step(Do.START, name, f"start as a replica of {leader}"),)
        now = yield (Step(Do.FOLLOW, name, f"stream from {leader}", (leader,)),)
    tidy = [Step(Do.TIDY, name, "prepare replication slots, in case it becomes the primary")]
    if now.node(name).old_data:
        tidy.append(Step(Do.DISCARD, name, "remove the old data directory, now that the new one streams"))
    now = yield tuple(tidy)
    return now


def degrade(now: Topology) -> Plan:
    """Let the primary acknowledge writes without a standby. Raises Refused if a standby confirms them."""
    leader = _only_leader(now)
    if not now.synchronous and leader.synchronous:
        raise Refused(f"the inventory no longer makes {leader.name} wait for a replica. Apply that: inv deploy")
    if not now.synchronous:
        raise Refused("database.synchronous is false in the inventory, so writes do not wait for a replica")
    if leader.degraded:
        raise AlreadySo(
            f"{leader.name} is degraded already, since {leader.degraded}. To make writes wait again:"
            " fab failover resync"
        )
    if fenced_by := now.fencing(leader.name):
        raise Refused(
            f"{leader.name} is fenced off by {', '.join(fenced_by)}: a promotion may have replaced it, and writes"
            " that it acknowledged now would be lost. Make every db host reachable and look again:"
            " fab failover status"
        )
    if confirming := now.confirming(leader):
        raise Refused(
            f"{', '.join(confirming)} confirms the writes of {leader.name}, so no write waits and there is"
            " nothing to degrade. If it was cut off just now, type this again in ten seconds"
        )
    yield (
        Step(
            Do.DEGRADE, leader.name, "acknowledge writes without a replica; until resync, losing this host loses writes"
        ),
    )


def resync(now: Topology) -> Plan:
    """Make writes wait for a standby again."""
    leader = _only_leader(now)
    if not leader.degraded:
        raise AlreadySo(f"{leader.name} is not degraded; writes wait for a replica")
    if not [node for node in now.standbys if node.upstream == leader.name and leader.sender(node.name)]:
        raise Refused(
            f"no replica streams from {leader.name}, so every write would wait. Bring one back: fab failover rejoin"
        )
    yield (Step(Do.RESYNC, leader.name, "wait for a replica again before a write is acknowledged"),)


def _only_leader(now: Topology) -> Node:
    require_an_answer(now)
    one_history(now)
    if not now.primaries:
        raise Refused("there is no primary. Make one first: fab failover promote")
    return now.primaries[0]
