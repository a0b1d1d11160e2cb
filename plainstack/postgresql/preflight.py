"""States of the db hosts that forbid a deploy, because it could lose or fork data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from plainstack.inventory.stack import Stack
from plainstack.postgresql.hosts import databases
from plainstack.postgresql.topology import Facts, Member, members, primaries, unfinished_restore


def refusals(stack: Stack, facts: Facts, _deployed: Mapping[str, Collection[str]]) -> list[str]:
    """Return the reasons not to deploy the role db now, from the facts of all db hosts (None: not reachable)."""
    return [*_restoring(facts), *refusals_of(members(databases(stack), facts))]


def _restoring(facts: Facts) -> Iterator[str]:
    for name, seen in facts.items():
        if restore := (seen or {}).get("restoring"):
            yield f"{name}: {unfinished_restore(restore)}"


def refusals_of(cluster: Sequence[Member]) -> list[str]:
    """Return the reasons not to deploy the role db now, from the members of its cluster."""
    return [*_different_clusters(cluster), *_split(cluster), *_unsafe_start(cluster)]


def _different_clusters(cluster: Sequence[Member]) -> Iterator[str]:
    known = [member for member in cluster if member.system_identifier]
    if len({member.system_identifier for member in known}) > 1:
        yield (
            f"the system identifiers of {_names(known)} differ: they are not copies of one cluster. Find out"
            " which one has your data, and make the other a copy of it: fab failover rejoin --host=OTHER"
        )


def _split(cluster: Sequence[Member]) -> Iterator[str]:
    leading = primaries(cluster)
    if len(leading) > 1:
        newest = max(leading, key=lambda member: member.timeline)
        oldest = min(leading, key=lambda member: member.timeline)
        yield (
            f"{len(leading)} primaries: {_names(leading)}. Their writes diverge. {newest.name} has the newest"
            f" timeline ({newest.timeline}). Make the other a replica: fab failover rejoin --host={oldest.name}"
        )
    if leading or _unknown(cluster):
        return
    holding = [member for member in cluster if member.state != "empty"]
    sleeping = [member for member in holding if member.state == "stopped primary"]
    if holding and not sleeping:
        yield f"no primary: {_names(holding)} can only follow one. Promote a replica: fab failover promote"
    if len(sleeping) > 1:
        yield f"{_names(sleeping)} are stopped, and each would start as a primary. Choose one: fab failover promote"


def _unsafe_start(cluster: Sequence[Member]) -> Iterator[str]:
    """Yield a reason for each server that this deploy would start or create although a primary may already exist."""
    leading, unknown = primaries(cluster), _unknown(cluster)
    sleeping = [member for member in cluster if member.state == "stopped primary"]
    for member in sleeping:
        if leading:
            yield (
                f"{member.name} is stopped and would start as a second primary, next to {_names(leading)}. Rejoin"
                " it as a replica: fab failover rejoin"
            )
        elif unknown:
            yield (
                f"{member.name} is stopped and would start as a primary, but {_names(unknown)} does not answer,"
                " so it is unknown whether a primary exists. Make it answer, or choose one: fab failover promote"
            )
    if not cluster or cluster[0].state != "empty" or leading:
        return
    first = cluster[0].name
    if unknown:
        yield (
            f"{first} has no data directory, and {_names(unknown)} does not answer, so it is unknown whether a"
            " primary exists. Make it answer, and deploy again"
        )
    elif sleeping:
        yield (
            f"{first} has no data directory, but {_names(sleeping)} has one and is stopped. Start it as the"
            " primary (fab failover promote), then deploy again"
        )


def _unknown(cluster: Sequence[Member]) -> list[Member]:
    return [member for member in cluster if member.state in ("unreachable", "silent")]


def _names(of: Sequence[Member]) -> str:
    names = [member.name for member in of]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
