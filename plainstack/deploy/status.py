"""One screen: every host's reachability, units, database role and lag, virtual address, and last backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plainstack.deploy.observe import View
from plainstack.engine.observed import Observed
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql.settings import Backup
from plainstack.postgresql.topology import Member, members, primaries
from plainstack.services.edge import Balancer

HEADER = ("host", "address", "roles", "units", "database", "virtual address", "last backup")


@dataclass
class Row:
    """One host's line; `problems` are sentences."""

    host: str
    address: str
    roles: str
    reachable: bool
    units: str = "-"
    database: str = ""
    virtual_address: str = ""
    last_backup: str = ""
    problems: list[str] = field(default_factory=list)


def rows(stack: Stack, view: View, now: float) -> list[Row]:
    """A line for every host that was asked; `now` in seconds since the epoch."""
    found = []
    for name in [*view.observed, *view.failed]:
        host = stack.hosts[name]
        row = Row(name, str(host.address), ",".join(host.roles) or "-", name in view.observed)
        if name in view.failed:
            row.problems.append(view.failed[name].reason)
        else:
            seen = view.observed[name]
            _units(row, seen)
            _backup(row, host, seen.facts, now, stack.settings(Backup).max_age_hours * 3600)
            if "vip" in seen.facts:
                row.virtual_address = "holds it" if seen.facts["vip"] == "yes" else "-"
            if seen.lock:
                row.problems.append(f"a run is at work: {seen.lock}")
        found.append(row)
    order = list(stack.hosts)
    found.sort(key=lambda row: order.index(row.host))
    _databases(stack, view, found)
    _virtual_address(stack, view, found)
    return found


def _units(row: Row, seen: Observed) -> None:
    wanted, down = units_down(seen)
    row.units = f"{len(wanted) - len(down)}/{len(wanted)} up" if wanted else "not deployed"
    row.problems += down


def units_down(seen: Observed) -> tuple[list[str], list[str]]:
    """The units of ours that should run on a host, and a sentence for each that does not."""
    ours = {entry.name: entry for entries in seen.manifest.values() for entry in entries if entry.kind == "unit"}
    wanted = [name for name, entry in ours.items() if entry.state.endswith("running")]
    down = [name for name in wanted if seen.units.get(name) is None or seen.units[name].active != "active"]
    return wanted, [f"{name} is {seen.units[name].active if name in seen.units else 'missing'}" for name in down]


def _backup(row: Row, host: Host, facts: Mapping[str, str], now: float, oldest: int) -> None:
    if "backup" not in host.roles:
        return
    at = float(facts.get("backup_at") or 0)
    if not at:
        row.last_backup = "none"
        row.problems.append("there is no usable backup; take one: inv backup-now")
        return
    row.last_backup = f"{duration(now - at)} ago"
    if now - at > oldest:
        row.problems.append(f"the last usable backup is {duration(now - at)} old")


def _databases(stack: Stack, view: View, found: Sequence[Row]) -> None:
    names = [host.name for host in stack.with_role("db") if host.name in view.observed or host.name in view.failed]
    if not names:
        return
    facts = {name: view.observed[name].facts if name in view.observed else None for name in names}
    everybody = members(names, facts)
    leading = primaries(everybody)
    by_host = {row.host: row for row in found}
    for member in everybody:
        row = by_host[member.name]
        row.database = _described(member, leading)
        if member.state not in ("primary", "standby", "unreachable"):
            row.problems.append(f"PostgreSQL: {member.state}")
        if member.state == "standby" and not member.upstream:
            row.problems.append("the replica streams from nobody")
    if len(names) == len(stack.with_role("db")) and len(leading) != 1:
        what = "no primary" if not leading else f"{len(leading)} primaries"
        by_host[names[0]].problems.append(f"the database has {what}")


def _described(member: Member, leading: Sequence[Member]) -> str:
    if member.state != "standby":
        return member.state
    lag = ""
    if leading and member.lsn and leading[0].lsn:
        lag = f", lag {size(max(0, position(leading[0].lsn) - position(member.lsn)))}"
    return f"replica of {member.upstream}{lag}" if member.upstream else "replica, not streaming"


def _virtual_address(stack: Stack, view: View, found: Sequence[Row]) -> None:
    balancers = [host.name for host in stack.with_role("balancer")]
    if stack.settings(Balancer).virtual_address is None or not balancers or not set(balancers) <= set(view.observed):
        return
    holders = [name for name in balancers if view.observed[name].facts.get("vip") == "yes"]
    if len(holders) != 1:
        row = next(row for row in found if row.host == balancers[0])
        row.problems.append(f"{len(holders)} hosts hold the virtual address {stack.settings(Balancer).virtual_address}")


def table(found: Sequence[Row]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """The rows as a header and lines of text."""
    return HEADER, [
        (
            row.host,
            row.address,
            row.roles,
            row.units if row.reachable else "UNREACHABLE",
            row.database or "-",
            row.virtual_address or "-",
            row.last_backup or "-",
        )
        for row in found
    ]


def position(lsn: str) -> int:
    """An LSN as a number of bytes (PostgreSQL's pg_lsn: two 32 bit halves in hexadecimal)."""
    high, _, low = lsn.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def size(count: int) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GiB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    whole = int(max(0, seconds))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"
