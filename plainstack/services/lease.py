"""Leases, which the program files/app/usr/local/lib/plainstack/one writes to the service's database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from plainstack.dataclass import dataclass
from plainstack.inventory.stack import Stack

# Seconds. The holder renews a lease every 1.5 seconds, and another host takes it over after 15.
_EXPIRED = 30

# The age of a lease is the difference of two times of the database's own clock. It is only displayed.
HOLDERS = """\
select name, holder,
 to_char(since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'),
 extract(epoch from clock_timestamp() - renewed)::integer
from plainstack.lease order by name"""


@dataclass(frozen=True)
class Holder:
    """The host that has a lease (empty: none), since when, and how many seconds ago it was renewed."""

    host: str
    since: str
    renewed: int


@runtime_checkable
class _Database(Protocol):
    """The database settings that leases depend on."""

    synchronous: bool


def missing(stack: Stack) -> str:
    """Return what the inventory lacks so that the database can store leases; empty if nothing is missing."""
    database = next((value for value in stack.__dict__.values() if isinstance(value, _Database)), None)
    if database is None or not stack.with_role("db"):
        return "a host with the role db: its database records which host runs the process"
    if not database.synchronous and len(stack.with_role("db")) > 1:
        return "database.synchronous: true; otherwise a primary that was cut off could keep a second process running"
    return ""


FACTS = """\
select 'lease.' || name || '=' || concat_ws('|', holder,
 to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
 extract(epoch from clock_timestamp() - renewed)::integer)
from plainstack.lease where not pg_is_in_recovery()"""
"""A query that prints the leases as facts; a replica prints none."""


def seen(facts: Iterable[Mapping[str, str]]) -> dict[str, Holder]:
    """Return the leases, from the facts of the db hosts."""
    lines = [
        f"{key.removeprefix('lease.')}|{value}"
        for each in facts
        for key, value in each.items()
        if key.startswith("lease.")
    ]
    return dict(holders("\n".join(lines)))


def sentences(known: Mapping[str, bool], found: Mapping[str, Holder]) -> Iterator[tuple[str, str, bool]]:
    """Yield the host ("" for none), a sentence, and whether it is a problem, for each of the leases in `known`.

    `known` maps each lease of a stack to whether a host should have it at all times.
    """
    for name, always in known.items():
        holder = found.get(name)
        if holder is not None and holder.host and holder.renewed < _EXPIRED:
            yield holder.host, f"{name} has run on {holder.host} since {holder.since}", False
        elif holder is not None and always:
            last = f"; {holder.host} renewed its lease {holder.renewed} s ago" if holder.host else ""
            yield "", f"{name} has run on no host since {holder.since}{last}", True


def holders(answer: str) -> Mapping[str, Holder]:
    """Return the holder of each lease, from what `psql -At` prints for HOLDERS."""
    rows = (line.split("|") for line in answer.splitlines())
    return {name: Holder(host, since, int(renewed)) for name, host, since, renewed in rows}
