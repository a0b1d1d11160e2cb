"""What a failover is made of: steps, stages of steps, and what all its plans ask of a topology."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from plainstack.errors import Refused
from plainstack.postgresql.observation import Node, Topology, newest, position

# More than this is not caught up with while clients wait: one WAL segment.
NEAR = 16 * 2**20


class Do(StrEnum):
    """What a step does; plainstack/database/steps.py has the script of each."""

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


def one_history(now: Topology) -> None:
    """Raises Refused when two hosts lead."""
    if len(now.primaries) > 1:
        old = min(now.primaries, key=lambda node: node.timeline)
        raise Refused(
            f"two primaries: {names_of(now.primaries, timeline=True)}; their writes diverge."
            f" Make one of them a standby: fab failover rejoin --host={old.name}"
        )


def somebody_answers(now: Topology) -> None:
    """Raises Refused when no db host answers."""
    if not any(node.reachable for node in now.nodes.values()):
        raise Refused(
            f"no db host answers ({', '.join(now.nodes)}): there is nobody to ask and nobody to promote."
            " Look at the network first; if all are lost, restore from the backup"
        )


def most_advanced(now: Topology, target: str) -> Node:
    """The standby to promote: the given one, or who has most; raises Refused when there is none."""
    if target:
        chosen = now.node(target)
        if chosen.state != "standby":
            raise Refused(f"{target} can not become the primary: it is no running standby but {chosen.state}")
        return chosen
    if not now.standbys:
        others = ", ".join(f"{node.name} is {node.state}" for node in now.nodes.values())
        raise Refused(f"no standby runs that could become the primary: {others}. {_revive(now)}")
    return newest(now.standbys)


def _revive(now: Topology) -> str:
    """What to do where no standby runs."""
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
    """What to do where no server runs, and which one is to lead is for a person to say."""
    asleep = [node for node in now.nodes.values() if node.stopped and not node.rewinding]
    if not asleep:
        return "Make a db host answer that has whole data, or restore from the backup"
    best = newest(asleep)
    away = [node for node in now.nodes.values() if not node.heard]
    bring = f"Make {names_of(away)} answer, and type this again. " if away else ""
    return (
        f"{bring}To go on with what {best.name} has (timeline {best.timeline}), and without what only others may have:"
        f" fab failover promote --to={best.name}"
    )


def candidate(now: Topology, target: str) -> Node:
    """As most_advanced, and nobody has more than a given one."""
    chosen = most_advanced(now, target)
    best = newest(now.standbys)
    if (chosen.timeline, position(chosen.lsn)) < (best.timeline, position(best.lsn)):
        raise Refused(
            f"{chosen.name} (timeline {chosen.timeline}, {chosen.lsn}) does not have all that {best.name} has (timeline"
            f" {best.timeline}, {best.lsn}): writes would be lost. Take that one: fab failover promote --to={best.name}"
        )
    return chosen


def fenced_off(now: Topology, node: Node) -> bool:
    """Whether a promotion went past this host and it did not rejoin since: it lacks what was written after that."""
    return bool(node.fenced or now.fencing(node.name))


def successor(now: Topology, leader: Node) -> Node | None:
    """The host that went past a primary that is shut out, though it does not run now: its data are the newer ones."""
    if not now.fencing(leader.name):
        return None
    ahead = [node for node in now.nodes.values() if node.timeline > leader.timeline and not fenced_off(now, node)]
    return newest(ahead) if ahead else None


def let_in(now: Topology, name: str) -> list[Step]:
    """Nobody shuts the host out any more."""
    return [Step(Do.UNFENCE, other, f"let {name} in again", (name,)) for other in now.fencing(name)]


def stopped_in_order(now: Topology) -> Node | None:
    """A primary that was stopped in order and that nobody succeeded: a standby may take over, and nothing is lost.

    None as long as any db host may be a primary, or was one after it.
    """
    whole = [node for node in now.nodes.values() if node.clean and not fenced_off(now, node)]
    if len(whole) != 1:
        return None
    (old,) = whole
    others = [node for node in now.nodes.values() if node.name != old.name]
    settled = all(node.state in ("standby", "stopped standby", "empty") for node in others)
    return old if settled and all(node.timeline <= old.timeline for node in others) else None


def follow(now: Topology, leader: Node) -> Iterator[Step]:
    """Every standby but the leader streams from it."""
    for node in now.standbys:
        if node.name != leader.name:
            yield Step(Do.FOLLOW, node.name, f"stream from {leader.name}", (leader.name,), optional=True)


def receive_from_new_primary(now: Topology) -> Iterator[Step]:
    """Barman turns to the new primary at once, not when it next looks."""
    if now.barman:
        for host in now.backup_hosts:
            yield Step(Do.BARMAN, host, "receive WAL from the new primary", optional=True)


def not_degraded(node: Node) -> Iterator[Step]:
    """A host that once ran without synchronous replication forgets it."""
    if node.degraded:
        yield Step(Do.RESYNC, node.name, "forget that it once ran without synchronous replication")


def names_of(nodes: Sequence[Node], *, timeline: bool = False) -> str:
    """Hosts in a sentence."""
    return " and ".join(f"{node.name} (timeline {node.timeline})" if timeline else node.name for node in nodes)
