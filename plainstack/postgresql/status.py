"""The database in `inv status`: the primary, its replicas and their lag, who has which lease, and problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plainstack.engine.role import Answers, Status
from plainstack.inventory.stack import Stack
from plainstack.postgresql.hosts import databases
from plainstack.postgresql.topology import TABLESPACES, Member, members, position, primaries, unfinished_restore
from plainstack.services import lease
from plainstack.services.stops import leases
from plainstack.wording import size


def status(stack: Stack, facts: Answers, _now: float) -> Status:
    """Return the cell of every db host, and problems; a wrong number of primaries only if all db hosts were probed."""
    cluster = members([name for name in databases(stack) if name in facts], facts)
    leading = primaries(cluster)
    problems = [(member.name, problem) for member in cluster for problem in _problems(member)]
    if len(cluster) == len(databases(stack)) and len(leading) != 1:
        what = "no primary" if not leading else f"{len(leading)} primaries"
        problems.append((cluster[0].name, f"the database has {what}"))
    notes: list[tuple[str, str]] = []
    for name, seen in facts.items():
        if seen and (restore := seen.get("restoring")):
            problems.append((name, unfinished_restore(restore)))
    notes += kept_data(facts)
    if stack.with_role("backup"):
        notes += [(name, TABLESPACES) for name, seen in facts.items() if seen and seen.get("tablespaces")][:1]
    held = lease.seen(one for one in facts.values() if one)
    for host, sentence, is_problem in lease.sentences(leases(stack), held):
        (problems if is_problem else notes).append((host or cluster[0].name, sentence))
    return Status({member.name: _described(member, leading) for member in cluster}, problems, notes)


def kept_data(facts: Answers) -> Iterator[tuple[str, str]]:
    """Yield a host and a sentence for each restore whose data, old or undone, is still kept on db hosts."""
    hosts: dict[str, list[str]] = {}
    for name, seen in facts.items():
        for key in seen or ():
            if key.startswith("kept."):
                hosts.setdefault(key.removeprefix("kept."), []).append(name)
    for kept, names in hosts.items():
        kind, _, restore = kept.partition("-")
        where = f"{', '.join(names)}: the data"
        if kind == "before":
            yield (
                names[0],
                f"{where} from before restore {restore} is kept: inv restore --undo, or --discard",
            )
        else:
            yield names[0], f"{where} of restore {restore}, which was undone, is kept: inv restore --discard deletes it"


def _problems(member: Member) -> Iterator[str]:
    if member.state not in ("primary", "standby", "unreachable"):
        yield f"PostgreSQL is {member.described}"
    if member.state == "standby" and not member.upstream:
        yield "the replica does not stream"


def _described(member: Member, leading: Sequence[Member]) -> str:
    if member.state != "standby":
        return member.label
    lag = ""
    if leading and member.lsn and leading[0].lsn:
        lag = f", lag {size(max(0, position(leading[0].lsn) - position(member.lsn)))}"
    return f"replica of {member.upstream}{lag}" if member.upstream else "replica, not streaming"
