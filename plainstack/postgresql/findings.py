"""Problems of a database cluster, as messages that say what to type."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.postgresql.failover.phases import NEAR, shut_down_cleanly, successor
from plainstack.postgresql.observation import Node, Topology
from plainstack.postgresql.sql import BARMAN_SLOT, slot_name
from plainstack.postgresql.topology import unfinished_restore, waiting
from plainstack.wording import size

# A slot that retains more bytes of WAL than this is reported: its receiver is away, or far behind.
RETAINED = 128 * 2**20


def healthy(now: Topology) -> bool:
    """Return whether there is exactly one primary, every other db host streams from it, and none is fenced off."""
    if len(now.primaries) != 1:
        return False
    (leader,) = now.primaries
    follow = all(node.name == leader.name or node.upstream == leader.name for node in now.nodes.values())
    return follow and not any(now.fencing(name) for name in now.nodes)


def findings(now: Topology) -> list[str]:
    """Return a message for every problem that an operator should know about."""
    nodes = (text for node in now.nodes.values() for text in _node(now, node))
    backups = [f"{name}: {now.wal_missing}" for name in now.backup_hosts if now.wal_missing]
    return [*_leaders(now), *nodes, *_fences(now), *backups]


def _leaders(now: Topology) -> Iterator[str]:
    if len(now.primaries) > 1:
        names = " and ".join(f"{node.name} (timeline {node.timeline})" for node in now.primaries)
        old = min(now.primaries, key=lambda node: node.timeline)
        kept = " (its peers and the app hosts fence it off)" if now.fenced_everywhere(old.name) else ""
        yield f"two primaries: {names}. Make {old.name} a replica{kept}: fab failover rejoin --host={old.name}"
    elif now.primaries and (after := successor(now, now.primaries[0])):
        yield (
            f"the only primary, {now.primaries[0].name}, is fenced off, and {after.name} has a newer history"
            f" (timeline {after.timeline}): fab failover promote"
        )
    elif not now.primaries:
        if shut_down_cleanly(now) and now.standbys:
            yield "no primary, but one was shut down cleanly: fab failover switchover hands over without loss"
        elif now.standbys:
            yield "no primary: fab failover promote"
        elif any(node.stopped for node in now.nodes.values()):
            yield "no primary, and no running replica: fab failover promote starts the db host with the newest data"
        else:
            yield "no primary, and no db host with data answers. Make one answer, or restore from the backup"


def _node(now: Topology, node: Node) -> Iterator[str]:
    leader = now.primaries[0] if len(now.primaries) == 1 else None
    if leader and successor(now, leader):
        leader = None
    if node.restoring:
        yield f"{node.name}: {unfinished_restore(node.restoring)}"
    elif node.state == "unreachable":
        yield f"{node.name} does not answer"
    elif node.state == "empty":
        yield f"{node.name} has no data" + (f": fab failover rejoin --host={node.name}" if leader else "")
    elif node.state == "silent":
        yield f"{node.name}: PostgreSQL runs but does not answer"
    elif node.stopped:
        what = " (a failover fenced it off)" if node.fenced else ""
        what = " (a rewind of its data did not finish)" if node.rewinding else what
        yield f"{node.name}: PostgreSQL is stopped{what}" + (
            f": fab failover rejoin --host={node.name}" if leader else ""
        )
    elif node.state == "standby" and leader:
        yield from _standby(leader, node)
    if node.degraded and node.state == "primary":
        back = "fab failover resync" if any(now.nodes.get(s.name) for s in node.senders) else "fab failover rejoin"
        yield (
            f"{node.name}: writes do not wait for any replica (degraded since {node.degraded})."
            f" To make them wait again: {back}"
        )
    elif node.degraded:
        back = f": fab failover rejoin --host={node.name}" if leader else ""
        yield f"{node.name} would not make writes wait for a replica if it became the primary{back}"
    elif node.state == "primary" and node.synchronous and not (now.confirming(node) or now.fencing(node.name)):
        if now.synchronous:
            yield (
                f"{node.name}: every write waits, because no replica confirms it:"
                f" {_no_wait(now, node)}fab failover degrade"
            )
        else:
            yield f"{node.name}: every write waits for a replica, which the inventory no longer asks for: inv deploy"
    if node.restart:
        yield f"{node.name}: {waiting(node.restart)}"
    known = {BARMAN_SLOT, *map(slot_name, now.nodes)}
    for slot in node.slots:
        if slot.name not in known and not slot.active and slot.retained:
            drop = f"select pg_drop_replication_slot('{slot.name}')"
            yield f"{node.name}: slot {slot.name} belongs to no host of this inventory. If it is not needed: {drop}"
        elif slot.wal_status == "lost" and slot.active:
            yield (
                f"{node.name}: slot {slot.name} is lost: its reader still finds the WAL that it needs, but"
                " PostgreSQL keeps none for it. To replace the slot: inv deploy"
            )
        elif slot.wal_status == "lost" and slot.name == BARMAN_SLOT:
            yield (
                f"{node.name}: slot {slot.name} is lost: Barman was away for too long, and WAL that it needs may be"
                " gone. When the backup host runs again, Barman makes a new slot, and `inv status` says whether WAL"
                " is missing"
            )
        elif slot.wal_status == "lost":
            yield (
                f"{node.name}: slot {slot.name} is lost: its replica was away for too long. If it cannot catch up,"
                " copy it again: fab failover rejoin --discard"
            )
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
        fenced_by = now.fencing(name)
        if fenced_by and not now.primaries:
            yield (
                f"{name} is fenced off by {', '.join(fenced_by)}: a promotion did not finish. Finish it:"
                " fab failover promote"
            )
        elif fenced_by and node.state != "primary":
            yield (
                f"{name} is fenced off by {', '.join(fenced_by)} until it has rejoined:"
                f" fab failover rejoin --host={name}"
            )
        elif fenced_by and len(now.primaries) == 1 and not successor(now, node):
            unseen = [other.name for other in now.nodes.values() if other.state in ("unreachable", "silent")]
            yield f"{name} is fenced off by {', '.join(fenced_by)}, although it is the only primary that was seen. " + (
                f"{' or '.join(unseen)} may be another primary. Make it answer first"
                if unseen
                else "To remove the fences: fab failover rejoin"
            )
