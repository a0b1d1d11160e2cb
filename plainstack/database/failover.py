"""Decisions of a failover: pure generators that yield stages of steps and get the topology observed after each.

Nothing is remembered between runs: every decision is made from what is observed. A run that was interrupted anywhere
is therefore finished by typing the same command again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from plainstack.database.observation import Node, Topology, newest, position
from plainstack.errors import Refused

# More than this is not caught up with while clients wait: one WAL segment.
NEAR = 16 * 2**20


class Do(StrEnum):
    """What a step does; plainstack/database/steps.py has the script of each."""

    CHECKPOINT = "checkpoint"
    STEP_DOWN = "step down"
    STEP_BACK = "step back"
    AWAIT_WAL = "await wal"
    KEEP_OUT = "keep out"
    FENCE = "fence"
    UNFENCE = "unfence"
    PROMOTE = "promote"
    PROMOTE_ALONE = "promote alone"
    START = "start"
    FOLLOW = "follow"
    TIDY = "tidy"
    REWIND = "rewind"
    CLONE = "clone"
    CLONE_OVER = "clone over"
    DISCARD = "discard"
    DEGRADE = "degrade"
    RESYNC = "resync"
    BARMAN = "barman"
    SITE = "site"


@dataclass(frozen=True)
class Step:
    """One thing to do on one host; `says` is the sentence for people, `about` names other hosts or an LSN.

    A failed step ends the run, but for an `optional` one: the next topology shows what came of it.
    """

    do: Do
    host: str
    says: str
    about: tuple[str, ...] = ()
    optional: bool = False


Stage = tuple[Step, ...]
"""Steps that are done at the same time."""

Plan = Generator[Stage, Topology, None]


def switchover(now: Topology, target: str = "") -> Plan:
    """Make a standby the primary while the old one hands over: nothing is lost, nothing has to be rewound."""
    if target:
        now.node(target)
    _one_history(now)
    if now.primaries:
        old = now.primaries[0]
        if target in ("", old.name) and (idle := _handed_over(now)):
            yield from _settle(now, idle, old)
            return
        heir = _heir(now, old, target)
        now = yield (Step(Do.CHECKPOINT, old.name, "write a checkpoint, so that stopping is quick"), *_resync(heir))
        now = yield (Step(Do.STEP_DOWN, old.name, "stop PostgreSQL; it will come up as a standby"),)
        old, heir = now.node(old.name), now.node(heir.name)
    elif len(now.standbys) == len(now.nodes):
        # Interrupted between the two steps of the hand-over. All answer, so the most advanced has all there is.
        heir = _candidate(now, target)
        now = yield (Step(Do.PROMOTE, heir.name, "become the primary"),)
        yield from _settle(now, [node for node in now.standbys if node.name != heir.name], now.node(heir.name))
        return
    else:
        old = _stopped_for_good_reason(now)
        heir = _most_advanced(now, target)
    now = yield from _hand_over(now, old, heir)
    yield from _settle(now, [now.node(old.name)], now.node(heir.name))


def _one_history(now: Topology) -> None:
    if len(now.primaries) > 1:
        old = min(now.primaries, key=lambda node: node.timeline)
        raise Refused(
            f"two primaries: {_names(now.primaries, timeline=True)}; their writes diverge."
            f" Make one of them a standby: fab failover rejoin --host={old.name}"
        )


def _handed_over(now: Topology) -> list[Node]:
    """What an interrupted switchover left: standbys that were stopped in order and not started again."""
    return [node for node in now.nodes.values() if node.state == "stopped standby" and node.clean]


def _heir(now: Topology, old: Node, target: str) -> Node:
    if target == old.name:
        raise Refused(f"{target} is the primary already")
    heir = now.node(target) if target else _most_advanced(now, "")
    if now.shut_out(old.name):
        raise Refused(f"{old.name} was fenced off by a promotion that did not end; finish it: fab failover promote")
    if heir.state != "standby":
        raise Refused(f"{heir.name} is no running standby but {heir.state}; {_help(heir)}")
    if heir.timeline != old.timeline:
        raise Refused(
            f"{heir.name} is on timeline {heir.timeline}, the primary {old.name} on {old.timeline};"
            f" bring it back first: fab failover rejoin --host={heir.name}"
        )
    sender = old.sender(heir.name)
    if heir.upstream != old.name or sender is None:
        raise Refused(
            f"{heir.name} does not stream from {old.name}; bring it back first: fab failover rejoin --host={heir.name}"
        )
    if sender.lag_bytes > NEAR:
        raise Refused(
            f"{heir.name} is {size(sender.lag_bytes)} behind {old.name}; writes would wait until it has caught up."
            " Look again in a while: fab failover status"
        )
    if now.barman:
        barman = old.sender(now.barman)
        if barman is None or barman.lag_bytes > NEAR:
            state = "does not stream WAL" if barman is None else f"is {size(barman.lag_bytes)} behind"
            raise Refused(
                f"Barman {state} from {old.name}: a switchover now would leave a gap in the backups."
                " See what its receiver says (inv status), or look again in a while: fab failover status"
            )
    return heir


def _stopped_for_good_reason(now: Topology) -> Node:
    """The old primary of a switchover that was interrupted, or of one that somebody stopped in order."""
    stopped = [node for node in now.nodes.values() if node.clean]
    if not stopped:
        _somebody_answers(now)
        raise Refused("there is no primary to switch over from; if it is gone: fab failover promote")
    return newest(stopped)


def _hand_over(now: Topology, old: Node, heir: Node) -> Generator[Stage, Topology, Topology]:
    if not old.clean:
        raise Refused(
            f"{old.name} did not stop in order ({old.cluster or old.state}), so it may have writes that {heir.name}"
            " has not. Start it again, or if it is gone: fab failover promote"
        )
    if position(heir.lsn) <= position(old.lsn):
        now = yield (Step(Do.AWAIT_WAL, heir.name, f"receive the last WAL of {old.name}", (old.lsn,), optional=True),)
        heir = now.node(heir.name)
        if position(heir.lsn) <= position(old.lsn):
            yield (Step(Do.STEP_BACK, old.name, "start again as the primary"),)
            raise Refused(
                f"{heir.name} did not receive the last WAL of {old.name}, so {old.name} is the primary again."
                " Nothing is lost; see why: fab failover status"
            )
    # Both at once: with synchronous replication writes wait for the old primary to follow.
    now = yield (
        Step(Do.PROMOTE, heir.name, "become the primary"),
        Step(Do.START, old.name, f"start as a standby of {heir.name}"),
    )
    return now


def _settle(now: Topology, idle: Sequence[Node], leader: Node) -> Plan:
    """After a planned hand-over: everybody follows, and nobody keeps WAL for those that left."""
    starts = tuple(
        Step(Do.START, node.name, f"start as a standby of {leader.name}")
        for node in idle
        if node.state == "stopped standby"
    )
    if starts:
        now = yield starts
    yield (
        *_follow(now, leader),
        *(Step(Do.TIDY, node.name, "drop what it kept as the primary") for node in idle),
        *_barman(now),
    )


def _follow(now: Topology, leader: Node) -> Iterator[Step]:
    for node in now.standbys:
        if node.name != leader.name:
            yield Step(Do.FOLLOW, node.name, f"stream from {leader.name}", (leader.name,), optional=True)


def _barman(now: Topology) -> Iterator[Step]:
    if now.barman:
        for host in now.backup_hosts:
            yield Step(Do.BARMAN, host, "receive WAL from the new primary", optional=True)


def _resync(node: Node) -> Iterator[Step]:
    if node.degraded:
        yield Step(Do.RESYNC, node.name, "forget that it once ran without synchronous replication")


def promote(now: Topology, target: str = "") -> Plan:
    """The primary is gone: fence it off, and make the most advanced standby the primary."""
    if target:
        now.node(target)
    _somebody_answers(now)
    leading = [node for node in now.primaries if not now.shut_out(node.name)]
    if leading:
        yield from _finish_promotion(now, leading, target)
        return
    _nobody_lives_unseen(now)
    _candidate(now, target)
    now = yield from _fence(now)
    # Chosen after the fence: until then a standby may still receive.
    heir = _candidate(now, target)
    alone = now.synchronous and len(now.standbys) == 1
    says = "become the primary; nobody else answers, so writes wait for no standby" if alone else "become the primary"
    now = yield (Step(Do.PROMOTE_ALONE if alone else Do.PROMOTE, heir.name, says),)
    yield from _after_promotion(now, now.node(heir.name))


def _finish_promotion(now: Topology, leading: Sequence[Node], target: str) -> Plan:
    _one_history(now)
    (leader,) = leading
    begun = [node for node in _gone(now) if now.fencing(node.name)]
    if not begun or (target and target != leader.name):
        raise Refused(
            f"{leader.name} is the primary already"
            if target in ("", leader.name) and begun
            else f"{leader.name} is the primary and answers; to hand over as planned: fab failover switchover"
        )
    if not list(_fence_steps(now)) and all(node.upstream == leader.name for node in now.standbys):
        waiting = ", ".join(f"fab failover rejoin --host={node.name}" for node in begun)
        raise Refused(f"{leader.name} is the primary already; what is left to do: {waiting}")
    now = yield from _fence(now)
    yield from _after_promotion(now, now.node(leader.name))


def _somebody_answers(now: Topology) -> None:
    if not any(node.reachable for node in now.nodes.values()):
        raise Refused(
            f"no db host answers ({', '.join(now.nodes)}): there is nobody to ask and nobody to promote."
            " Look at the network first; if all are lost, restore from the backup"
        )


def _nobody_lives_unseen(now: Topology) -> None:
    for node in now.nodes.values():
        witnesses = [peer.name for peer in now.standbys if node.name in peer.answering]
        if node.state == "unreachable" and witnesses:
            raise Refused(
                f"{node.name} does not answer here, but its PostgreSQL answers {witnesses[0]}: it may well be a primary"
                f" that works. Make {node.name} reachable over SSH and look again: fab failover status."
                " If it has to go, power it off first"
            )


def _gone(now: Topology) -> list[Node]:
    """Hosts that are, were or may be a primary besides the one to come."""
    leading = [node for node in now.primaries if not now.shut_out(node.name)]
    return [
        node
        for node in now.nodes.values()
        if node not in leading and node.state in ("unreachable", "silent", "stopped primary", "primary")
    ]


def _candidate(now: Topology, target: str) -> Node:
    heir = _most_advanced(now, target)
    best = newest(now.standbys)
    if (heir.timeline, position(heir.lsn)) < (best.timeline, position(best.lsn)):
        raise Refused(
            f"{heir.name} (timeline {heir.timeline}, {heir.lsn}) does not have all that {best.name} has (timeline"
            f" {best.timeline}, {best.lsn}): writes would be lost. Take that one: fab failover promote --to={best.name}"
        )
    return heir


def _most_advanced(now: Topology, target: str) -> Node:
    if target:
        heir = now.node(target)
        if heir.state != "standby":
            raise Refused(f"{target} can not become the primary: it is no running standby but {heir.state}")
        return heir
    if not now.standbys:
        others = ", ".join(f"{node.name} is {node.state}" for node in now.nodes.values())
        raise Refused(f"no standby runs that could become the primary: {others}. {_revive(now)}")
    return newest(now.standbys)


def _revive(now: Topology) -> str:
    stopped = [node for node in now.nodes.values() if node.state in ("stopped primary", "stopped standby")]
    if not stopped:
        return "Make a db host reachable, or restore from the backup"
    best = newest(stopped)
    return (
        f"{best.name} has the newest data (timeline {best.timeline}); start it there:"
        f" systemctl start postgresql@17-main"
    )


def _fence(now: Topology) -> Generator[Stage, Topology, Topology]:
    steps = tuple(_fence_steps(now))
    if steps:
        now = yield steps
    return now


def _fence_steps(now: Topology) -> Iterator[Step]:
    gone = _gone(now)
    for node in gone:
        if node.reachable and not (node.fenced and node.state == "stopped primary"):
            yield Step(Do.KEEP_OUT, node.name, "stop PostgreSQL, and keep it from starting as a primary")
    names = [node.name for node in gone]
    for node in now.nodes.values():
        missing = tuple(name for name in names if name not in node.fences and name != node.name)
        if missing and node.reachable and node not in gone:
            yield Step(Do.FENCE, node.name, f"shut out {', '.join(missing)}", missing)
    for client, fences in now.clients.items():
        missing = tuple(name for name in names if fences is not None and name not in fences)
        if missing:
            yield Step(Do.FENCE, client, f"shut out {', '.join(missing)}", missing, optional=True)


def _after_promotion(now: Topology, leader: Node) -> Plan:
    stubborn = [node for node in _gone(now) if not node.reachable]
    yield (
        *_follow(now, leader),
        *_barman(now),
        *(Step(Do.KEEP_OUT, node.name, "try once more to stop PostgreSQL there", optional=True) for node in stubborn),
        *(Step(Do.SITE, host, "ask the site through the balancer", optional=True) for host in now.site_from),
    )


def rejoin(now: Topology, host: str = "", *, discard: bool = False) -> Plan:
    """Make hosts that were fenced off, stopped or have diverged standbys of the primary again."""
    leader = _leader(now)
    if host:
        node = now.node(host)
        if host == leader.name:
            raise Refused(f"{host} is the primary; there is nothing to rejoin")
        if not node.reachable:
            raise Refused(f"{host} does not answer; bring it back (power, network, SSH) and type this again")
    strayed = [node.name for node in now.nodes.values() if _strayed(now, leader, node) and host in ("", node.name)]
    away = [name for name in strayed if not now.node(name).reachable]
    if away and len(away) == len(strayed):
        raise Refused(f"{', '.join(away)} does not answer; bring it back (power, network, SSH) and type this again")
    for name in strayed:
        if name not in away:
            now = yield from _rejoin(now, name, leader.name, discard)
    leader = now.node(leader.name)
    if leader.degraded and any(node.upstream == leader.name for node in now.standbys):
        yield (Step(Do.RESYNC, leader.name, "wait for a standby again before a write is acknowledged"),)


def _leader(now: Topology) -> Node:
    _somebody_answers(now)
    leading = [node for node in now.primaries if not now.shut_out(node.name)] or now.primaries
    if not leading:
        raise Refused("there is no primary to follow. Make one first: fab failover promote")
    if now.shut_out(leading[0].name) and now.standbys:
        raise Refused(
            f"{leading[0].name} was fenced off by a promotion that did not end; finish it: fab failover promote"
        )
    best = newest(leading)
    rivals = [node for node in leading if node.timeline == best.timeline]
    if len(rivals) > 1:
        raise Refused(
            f"two primaries on one timeline: {_names(rivals)}; only a person can tell whose writes to keep."
            " Stop the other one there: systemctl stop postgresql@17-main, and type this again"
        )
    return best


def _strayed(now: Topology, leader: Node, node: Node) -> bool:
    if node.name == leader.name:
        return False
    whole = node.state == "standby" and node.upstream == leader.name and not node.fenced
    return not whole or bool(now.fencing(node.name) or node.degraded or node.old_data)


def _rejoin(now: Topology, name: str, leader: str, discard: bool) -> Generator[Stage, Topology, Topology]:
    node = now.node(name)
    if node.state in ("primary", "silent") or (node.state == "stopped primary" and not node.fenced):
        now = yield (Step(Do.KEEP_OUT, name, "stop PostgreSQL, and keep it from starting as a primary"),)
    open_again = [Step(Do.UNFENCE, other, f"let {name} in again", (name,)) for other in now.fencing(name)]
    # The primary may have dropped or never made the slot; the standby's own file could make it a lone primary later.
    now = yield (*open_again, Step(Do.TIDY, leader, f"have a slot ready for {name}"), *_resync(node))
    node = now.node(name)
    if node.state in ("standby", "stopped standby") and not node.rewinding and node.upstream != leader:
        if node.state == "stopped standby":
            now = yield (Step(Do.START, name, f"start as a standby of {leader}"),)
        now = yield (Step(Do.FOLLOW, name, f"stream from {leader}", (leader,), optional=True),)
        node = now.node(name)
        if node.upstream != leader:
            now = yield (Step(Do.KEEP_OUT, name, "stop PostgreSQL: it can not follow as it is"),)
            node = now.node(name)
    if node.upstream != leader:
        if node.state != "empty" and not node.rewinding and not discard:
            now = yield (Step(Do.REWIND, name, f"take back what {leader} does not have", (leader,)),)
            node = now.node(name)
        if node.state == "empty" or node.rewinding or discard:
            why = f"; pg_rewind could not: {node.rewinding}" if node.rewinding else ""
            verb = Do.CLONE_OVER if discard else Do.CLONE
            now = yield (Step(verb, name, f"copy the whole database from {leader}{why}", (leader,)),)
        now = yield (Step(Do.START, name, f"start as a standby of {leader}"),)
        now = yield (Step(Do.FOLLOW, name, f"stream from {leader}", (leader,)),)
    tidy = [Step(Do.TIDY, name, "have slots ready, should it become the primary")]
    if now.node(name).old_data:
        tidy.append(Step(Do.DISCARD, name, "remove the old data directory: the new one streams"))
    now = yield tuple(tidy)
    return now


def degrade(now: Topology) -> Plan:
    """Let the primary acknowledge writes without a standby, because none is left."""
    leader = _only_leader(now)
    if not now.synchronous:
        raise Refused("database.synchronous is false in the inventory: writes wait for no standby anyway")
    if leader.degraded:
        raise Refused(f"{leader.name} is degraded already, since {leader.degraded}; back: fab failover resync")
    confirming = [sender.name for sender in leader.senders if sender.sync_state in ("sync", "quorum")]
    if confirming:
        raise Refused(
            f"{', '.join(confirming)} confirms the writes of {leader.name}: nothing waits, nothing to degrade"
        )
    yield (Step(Do.DEGRADE, leader.name, "acknowledge writes without a standby: until resync a lost host loses data"),)


def resync(now: Topology) -> Plan:
    """Make writes wait for a standby again."""
    leader = _only_leader(now)
    if not leader.degraded:
        raise Refused(f"{leader.name} is not degraded")
    if not [node for node in now.standbys if node.upstream == leader.name and leader.sender(node.name)]:
        raise Refused(
            f"no standby streams from {leader.name}: every write would wait. Bring one back: fab failover rejoin"
        )
    yield (Step(Do.RESYNC, leader.name, "wait for a standby again before a write is acknowledged"),)


def _only_leader(now: Topology) -> Node:
    _somebody_answers(now)
    _one_history(now)
    if not now.primaries:
        raise Refused("there is no primary; make one first: fab failover promote")
    return now.primaries[0]


def _names(nodes: Sequence[Node], *, timeline: bool = False) -> str:
    return " and ".join(f"{node.name} (timeline {node.timeline})" if timeline else node.name for node in nodes)


def _help(node: Node) -> str:
    if node.state == "unreachable":
        return "make it reachable first"
    return f"bring it back first: fab failover rejoin --host={node.name}"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
