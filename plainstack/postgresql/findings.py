"""Problems of a database cluster, as messages that say what to type."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.postgresql.failover.stages import NEAR, stopped_in_order, successor
from plainstack.postgresql.observation import Node, Topology
from plainstack.postgresql.sql import BARMAN_SLOT, slot_name
from plainstack.postgresql.topology import waiting
from plainstack.wording import size

# A slot that retains this much WAL holds it for a receiver that is away.
RETAINED = 128 * 2**20


def healthy(now: Topology) -> bool:
    """Whether there is exactly one primary, every other db host streams from it, and no db host is fenced off."""
    if len(now.primaries) != 1:
        return False
    (leader,) = now.primaries
    follow = all(node.name == leader.name or node.upstream == leader.name for node in now.nodes.values())
    return follow and not any(now.fencing(name) for name in now.nodes)


def findings(now: Topology) -> list[str]:
    """Every problem that an operator should know about; empty if all is well."""
    return [*_leaders(now), *(text for node in now.nodes.values() for text in _node(now, node)), *_fences(now)]


def _leaders(now: Topology) -> Iterator[str]:
    if len(now.primaries) > 1:
        names = " and ".join(f"{node.name} (timeline {node.timeline})" for node in now.primaries)
        old = min(now.primaries, key=lambda node: node.timeline)
        kept = " (peers and application shut it out)" if now.shut_out(old.name) else ""
        yield f"two primaries: {names}; give one up{kept}: fab failover rejoin --host={old.name}"
    elif now.primaries and (after := successor(now, now.primaries[0])):
        yield (
            f"the only primary, {now.primaries[0].name}, is shut out, and {after.name} has a newer history (timeline"
            f" {after.timeline}): fab failover promote"
        )
    elif not now.primaries:
        if stopped_in_order(now) and now.standbys:
            yield "no primary, and one stopped in order: fab failover switchover hands over without loss"
        elif now.standbys:
            yield "no primary: fab failover promote"
        elif any(node.stopped for node in now.nodes.values()):
            yield "no primary, and no standby that runs: fab failover promote starts the db host with the newest data"
        else:
            yield "no primary, and no db host with data answers: make one answer, or restore from the backup"


def _node(now: Topology, node: Node) -> Iterator[str]:
    leader = now.primaries[0] if len(now.primaries) == 1 else None
    if leader and successor(now, leader):
        leader = None
    if node.state == "unreachable":
        yield f"{node.name} does not answer"
    elif node.state == "empty":
        yield f"{node.name} has no data" + (f": fab failover rejoin --host={node.name}" if leader else "")
    elif node.state == "silent":
        yield f"{node.name}: PostgreSQL runs and does not answer"
    elif node.stopped:
        what = " (it was shut out by a failover)" if node.fenced else ""
        what = " (its data are half rewound)" if node.rewinding else what
        yield f"{node.name}: PostgreSQL is stopped{what}" + (
            f": fab failover rejoin --host={node.name}" if leader else ""
        )
    elif node.state == "standby" and leader:
        yield from _standby(leader, node)
    if node.degraded and node.state == "primary":
        back = "fab failover resync" if any(now.nodes.get(s.name) for s in node.senders) else "fab failover rejoin"
        yield f"{node.name}: writes wait for no standby, degraded since {node.degraded}; back: {back}"
    elif node.degraded:
        back = f": fab failover rejoin --host={node.name}" if leader else ""
        yield f"{node.name}, as a primary, would wait for no standby{back}"
    elif node.state == "primary" and node.synchronous and not (now.confirming(node) or now.fencing(node.name)):
        if now.synchronous:
            yield f"{node.name}: every write waits, no standby confirms it: {_no_wait(now, node)}fab failover degrade"
        else:
            yield f"{node.name}: every write waits, for a standby that the inventory has no more: inv deploy"
    if node.restart:
        yield f"{node.name}: {waiting(node.restart)}"
    known = {BARMAN_SLOT, *map(slot_name, now.nodes)}
    for slot in node.slots:
        if slot.name not in known and not slot.active and slot.retained:
            drop = f"select pg_drop_replication_slot('{slot.name}')"
            yield f"{node.name}: slot {slot.name} is for no host of this inventory; if nobody needs it: {drop}"
        elif slot.wal_status == "lost":
            yield f"{node.name}: slot {slot.name} is lost, so its standby must be copied again"
        elif slot.retained > RETAINED:
            yield f"{node.name}: slot {slot.name} retains {size(slot.retained)}" + ("" if slot.active else ", unused")
    for path in node.old_data:
        yield f"{node.name} keeps an old data directory, {path}: fab failover rejoin --host={node.name} removes it"


def _standby(leader: Node, node: Node) -> Iterator[str]:
    if node.timeline != leader.timeline:
        yield f"replica {node.name} is on timeline {node.timeline}, primary {leader.name} on {leader.timeline}"
    sender = leader.sender(node.name)
    if node.upstream != leader.name:
        yield f"replica {node.name} does not stream from {leader.name}: fab failover rejoin --host={node.name}"
    elif sender and sender.lag_bytes > NEAR:
        yield f"replica {node.name} is {size(sender.lag_bytes)} behind"


def _no_wait(now: Topology, leader: Node) -> str:
    others = [node for node in now.nodes.values() if node.name != leader.name]
    return "fab failover rejoin, or " if any(node.reachable for node in others) else ""


def _fences(now: Topology) -> Iterator[str]:
    for name, node in now.nodes.items():
        closed = now.fencing(name)
        if closed and not now.primaries:
            yield f"{name} is shut out by {', '.join(closed)}: a promotion was begun; finish it: fab failover promote"
        elif closed and node.state != "primary":
            yield f"{name} is shut out by {', '.join(closed)} until it has rejoined: fab failover rejoin --host={name}"
        elif closed and len(now.primaries) == 1 and not successor(now, node):
            unseen = [other.name for other in now.nodes.values() if other.state in ("unreachable", "silent")]
            yield f"{name} is shut out by {', '.join(closed)}, and the only primary that is seen: " + (
                f"{' or '.join(unseen)} may be another; make it answer first"
                if unseen
                else "fab failover rejoin lets it in again"
            )
