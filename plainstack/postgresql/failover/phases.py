"""The building blocks of failover decisions: steps, phases, and functions about a topology that decisions share."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from enum import StrEnum

from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.postgresql.observation import Node, Topology, newest
from plainstack.postgresql.topology import position, unfinished_restore

# The largest lag of a receiver, in bytes, at which a switchover is allowed: one WAL segment. With more, clients would
# wait too long.
NEAR = 16 * 2**20


class Do(StrEnum):
    """The action of a step; steps.py returns the script of each."""

    CHECKPOINT = "checkpoint"
    WAKE = "wake"
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
    """One action on one host; `says` describes it to the operator, `about` names other hosts or an LSN.

    A failed step ends the run, unless it is `optional`: then the run continues, and the next topology shows the result.
    """

    do: Do
    host: str
    says: str
    about: tuple[str, ...] = ()
    optional: bool = False


Phase = tuple[Step, ...]
"""Steps that run at the same time."""


Plan = Generator[Phase, Topology, None]


def one_history(now: Topology) -> None:
    """Raise Refused if there is more than one primary."""
    if len(now.primaries) > 1:
        old = min(now.primaries, key=lambda node: node.timeline)
        raise Refused(
            f"two primaries: {names_of(now.primaries, timeline=True)}. Their writes diverge. Make one of them a"
            f" replica: fab failover rejoin --host={old.name}"
        )


def no_restore(now: Topology) -> None:
    """Raise Refused if a restore of the database has begun and has neither finished nor been undone."""
    for node in now.nodes.values():
        if node.restoring:
            raise Refused(f"{node.name}: {unfinished_restore(node.restoring)}")


def require_an_answer(now: Topology) -> None:
    """Raise Refused if no db host answers."""
    if not any(node.reachable for node in now.nodes.values()):
        raise Refused(
            f"no db host answers ({', '.join(now.nodes)}), so none can be promoted. Check the network first. If"
            " all hosts are lost, restore from the backup"
        )


def most_advanced(now: Topology, target: str) -> Node:
    """Return the standby to promote: the given one, or the one with the most WAL. Raises Refused if there is none."""
    if target:
        chosen = now.node(target)
        if chosen.state != "standby":
            raise Refused(f"{target} cannot become the primary: it is {chosen.described}, not a running replica")
        return chosen
    if not now.standbys:
        others = ", ".join(f"{node.name} is {node.described}" for node in now.nodes.values())
        raise Refused(f"no replica runs that could become the primary: {others}. {_revive(now)}")
    return newest(now.standbys)


def _revive(now: Topology) -> str:
    """Return the advice for when no standby runs."""
    if not now.primaries:
        return _choose(now)
    leader = now.primaries[0]
    waits = leader.synchronous and not now.confirming(leader)
    bring = f"Every write to {leader.name} waits until one is back" if waits else "Bring one back"
    away = [node for node in now.nodes.values() if node.name != leader.name and node.state == "unreachable"]
    if len(away) == len(now.nodes) - 1:
        return f"{bring}: make {names_of(away)} answer, then fab failover rejoin"
    return f"{bring}: fab failover rejoin"


def _choose(now: Topology) -> str:
    """Return the advice for when no server runs and the operator must choose the new primary."""
    asleep = [node for node in now.nodes.values() if node.stopped and not node.rewinding]
    if not asleep:
        return "Make a db host with complete data answer, or restore from the backup"
    best = newest(asleep)
    away = [node for node in now.nodes.values() if not node.heard]
    bring = f"Make {names_of(away)} answer, and type this again. " if away else ""
    return (
        f"{bring}To continue with the data of {best.name} (timeline {best.timeline}), without writes that only other"
        f" hosts may have: fab failover promote --to={best.name}"
    )


def candidate(now: Topology, target: str) -> Node:
    """Return the standby to promote, like most_advanced; also raises Refused if another standby has more WAL."""
    chosen = most_advanced(now, target)
    best = newest(now.standbys)
    if (chosen.timeline, position(chosen.lsn)) < (best.timeline, position(best.lsn)):
        raise Refused(
            f"{chosen.name} (timeline {chosen.timeline}, {chosen.lsn}) lacks writes that {best.name} has"
            f" (timeline {best.timeline}, {best.lsn}), and they would be lost. Promote {best.name} instead:"
            f" fab failover promote --to={best.name}"
        )
    return chosen


def fenced_off(now: Topology, node: Node) -> bool:
    """Return whether a promotion replaced this host and the host has not rejoined; it lacks all later writes."""
    return bool(node.fenced or now.fencing(node.name))


def successor(now: Topology, leader: Node) -> Node | None:
    """Return the host that replaced a fenced-off primary, even if its server does not run now; None if there is none.

    Its timeline is newer than the primary's.
    """
    if not now.fencing(leader.name):
        return None
    ahead = [node for node in now.nodes.values() if node.timeline > leader.timeline and not fenced_off(now, node)]
    return newest(ahead) if ahead else None


def remove_fences(now: Topology, name: str) -> list[Step]:
    """Return the steps that remove every fence against the host."""
    return [Step(Do.UNFENCE, other, f"remove the fence against {name}", (name,)) for other in now.fencing(name)]


def shut_down_cleanly(now: Topology) -> Node | None:
    """Return the primary that was shut down cleanly and has no successor: a standby can take over without loss.

    None if another db host may be a primary, or may have become one since the shutdown.
    """
    whole = [node for node in now.nodes.values() if node.clean and not fenced_off(now, node)]
    if len(whole) != 1:
        return None
    (old,) = whole
    others = [node for node in now.nodes.values() if node.name != old.name]
    settled = all(node.state in ("standby", "stopped standby", "empty") for node in others)
    return old if settled and all(node.timeline <= old.timeline for node in others) else None


def follow(now: Topology, leader: Node) -> Iterator[Step]:
    """Yield the steps that make every other standby stream from the new primary."""
    for node in now.standbys:
        if node.name != leader.name:
            yield Step(Do.FOLLOW, node.name, f"stream from {leader.name}", (leader.name,), optional=True)


def receive_from_new_primary(now: Topology) -> Iterator[Step]:
    """Yield the steps that make Barman receive WAL from the new primary at once, instead of at its next check."""
    if now.barman:
        for host in now.backup_hosts:
            yield Step(Do.BARMAN, host, "receive WAL from the new primary", optional=True)


def not_degraded(node: Node) -> Iterator[Step]:
    """Yield the step that removes a leftover degraded setting from a host."""
    if node.degraded:
        yield Step(Do.RESYNC, node.name, "remove the leftover setting of a degraded primary")


def names_of(nodes: Sequence[Node], *, timeline: bool = False) -> str:
    """Return the names of hosts for a sentence, such as "db1 and db2"."""
    return " and ".join(f"{node.name} (timeline {node.timeline})" if timeline else node.name for node in nodes)
