"""Decides the phases of a restore: pure generators, which change nothing themselves.

Every decision depends only on what was observed. To finish an interrupted restore, the operator types the same command
again; to abandon it, `inv restore --undo`.
"""

from __future__ import annotations

from plainstack.errors import Refused
from plainstack.postgresql.failover.phases import Do, Step, not_degraded, remove_fences
from plainstack.postgresql.observation import Node
from plainstack.postgresql.restore import folder_steps, quiet
from plainstack.postgresql.restore.acts import Act, Part, Plan, RestoreStep
from plainstack.postgresql.restore.situation import Request, Situation
from plainstack.postgresql.topology import TABLESPACES
from plainstack.wording import counted, size

# How many bytes a host needs besides the data: the WAL of the copy, and a reserve.
MARGIN = 256 * 2**20


def continued(now: Situation, moment: str) -> Request | None:
    """Return the unfinished restore to this moment (if empty, to any moment); None if a new restore can begin.

    Raises Refused if a restore to another moment has begun to change the stack.
    """
    begun = now.request
    if not now.unfinished or (moment and begun and begun.moment != moment and not now.touched):
        return None
    if begun is None or begun.id != now.unfinished:
        raise Refused(
            f"a restore ({now.unfinished}) has not finished, and {now.backup} does not know it. Put the old data back:"
            " inv restore --undo"
        )
    if begun.undo:
        raise Refused(f"restore {begun.id} is being undone. Finish that: inv restore --undo")
    if moment and begun.moment != moment:
        raise Refused(
            f"restore {begun.id} ({begun.says}) has not finished. Finish it with the command that began it, or put"
            " the old data back: inv restore --undo"
        )
    return begun


def restore(now: Situation, wanted: Request) -> Plan:
    """Bring the database of the stack back to an earlier moment, up to the checks before the site opens."""
    if not now.reachable:
        raise Refused(f"{now.backup} does not answer, and it has the backups. Bring it back (power, network, SSH)")
    request = continued(now, wanted.moment) or wanted
    _leader_answers(now, request)
    _no_tablespaces(now)
    if now.unfinished != request.id or now.request is None:
        if now.scratch:
            says = "drop the copy that was recovered for another restore"
            now = yield (RestoreStep(Act.DROP_SCRATCH, now.backup, says),)
        now = yield (RestoreStep(Act.RECORD, now.backup, "record what is restored", (request.id, request.as_json())),)
    if not _has_data(now, request, request.leader):
        now = yield from _recover(now, request)
        _must_have_room(now, request)
        now = yield from folder_steps.copy(now, request)
        now = yield from quiet.close_and_halt(now, request)
    now = yield from _put_aside(now, request)
    now = yield from _lead(now, request)
    now = yield from _follow(now, request)
    now = yield from folder_steps.exchange(now, request)
    yield from quiet.settle(now, request)


def reopen(now: Situation) -> Plan:
    """Open the site after the checks, and record the end of the restore or of its undoing."""
    if now.request and not now.request.finished:
        yield from quiet.reopen(now, now.request)


def discard(now: Situation) -> Plan:
    """Delete the data directories, and the files of services, that restores have put aside."""
    if now.unfinished:
        raise Refused(f"restore {now.unfinished} has not finished, and may still need the data that it put aside")
    steps = tuple(
        RestoreStep(
            Act.DISCARD, host, f"delete {counted(len(kept), 'data directory', 'data directories')} of earlier restores"
        )
        for host, kept in now.kept.items()
        if kept
    )
    files: dict[tuple[str, str], list[str]] = {}
    for host, key, name in folder_steps.aside(now, now.restores):
        files.setdefault((host, key), []).append(name)
    steps += tuple(
        RestoreStep(Act.DISCARD_FILES, host, f"delete old files of {key}", (key, *names))
        for (host, key), names in files.items()
    )
    if steps:
        yield steps


def _leader_answers(now: Situation, request: Request) -> None:
    node = now.topology.node(request.leader)
    if not node.reachable:
        raise Refused(
            f"{request.leader}, which becomes the primary of restore {request.id}, does not answer. Bring it back"
            " (power, network, SSH) and type this again, or put the old data back: inv restore --undo"
        )


def _no_tablespaces(now: Situation) -> None:
    for node in now.reached:
        if node.tablespaces:
            raise Refused(f"{node.name}: {TABLESPACES}")


def _has_data(now: Situation, request: Request, host: str) -> bool:
    """Return whether a host has the restored data already, whether its server runs or not."""
    return bool(now.has_kept(host, "before", request.id)) and now.topology.node(host).state != "empty"


def _recover(now: Situation, request: Request) -> Part:
    if now.scratch:
        return now
    if len(now.topology.primaries) == 1:
        (primary,) = now.topology.primaries
        # Recovery to a time stops at the first later commit, so there must be one, and Barman must have it.
        says = "write a last transaction, and wait until Barman has it"
        now = yield (RestoreStep(Act.PIN, primary.name, says, optional=True),)
    says = f"recover a copy of the database: {request.says}"
    now = yield (RestoreStep(Act.RECOVER, now.backup, says, request.target),)
    return now


def _must_have_room(now: Situation, request: Request) -> None:
    needed = now.size + MARGIN
    for node in now.reached:
        free = now.room.get(node.name, needed)
        if not _has_data(now, request, node.name) and free < needed:
            raise Refused(
                f"{node.name}: the disk is too full for the restored data next to the old: {size(free)} are free,"
                f" {size(needed)} are needed. Free some under /var/lib/postgresql and type this again. The site is"
                f" untouched; to abandon the restore: inv restore --undo"
            )


def _put_aside(now: Situation, request: Request) -> Part:
    def left(now: Situation) -> list[Node]:
        return [node for node in now.reached if not now.has_kept(node.name, "before", request.id)]

    if left(now):
        now = yield from quiet.stand_down(now, request, left(now), "to exchange its data")
    if aside := left(now):
        says = "put the data directory aside"
        now = yield tuple(RestoreStep(Act.PUT_ASIDE, node.name, says, (request.id,)) for node in aside)
    return now


def _lead(now: Situation, request: Request) -> Part:
    leader = request.leader
    if now.topology.node(leader).state == "empty":
        says = f"copy the recovered database from {now.backup}"
        now = yield (RestoreStep(Act.COPY, leader, says, (now.backup,)),)
    if now.topology.node(leader).state != "primary":
        now = yield (
            *remove_fences(now.topology, leader),
            RestoreStep(Act.LEAD, leader, "start as the primary"),
        )
    return (yield from tidy_leader(now, leader))


def tidy_leader(now: Situation, leader: str) -> Part:
    """Prepare the accounts and slots of the primary; if no other db host answers, its writes wait for none."""
    node = now.topology.node(leader)
    if now.topology.synchronous and len(now.reached) == 1 and not node.degraded:
        says = "acknowledge writes without a replica, because no other db host answers"
        now = yield (Step(Do.DEGRADE, leader, says),)
    elif node.degraded and len(now.reached) > 1:
        now = yield tuple(not_degraded(node))
    now = yield (Step(Do.TIDY, leader, "prepare the accounts, passwords and replication slots"),)
    return now


def _follow(now: Situation, request: Request) -> Part:
    leader = request.leader
    others = [node.name for node in now.reached if node.name != leader]
    copying = tuple(
        Step(Do.CLONE, name, f"copy the database from {leader}", (leader,))
        for name in others
        if now.topology.node(name).state == "empty"
    )
    if copying:
        now = yield copying
    return (yield from start_replicas(now, leader, others))


def start_replicas(now: Situation, leader: str, names: list[str]) -> Part:
    """Start these hosts as replicas of the primary."""
    waiting = [name for name in names if now.topology.node(name).state == "stopped standby"]
    if waiting:
        release = (RestoreStep(Act.RELEASE, name, "let PostgreSQL start again") for name in waiting)
        now = yield (*(step for name in waiting for step in remove_fences(now.topology, name)), *release)
        now = yield tuple(Step(Do.START, name, f"start as a replica of {leader}") for name in waiting)
    following = tuple(
        Step(Do.FOLLOW, name, f"stream from {leader}", (leader,), optional=True)
        for name in names
        if now.topology.node(name).state == "standby" and now.topology.node(name).upstream != leader
    )
    if following:
        now = yield following
    tidying = tuple(
        Step(Do.TIDY, name, "prepare replication slots, in case it becomes the primary")
        for name in names
        if now.topology.node(name).state == "standby"
    )
    if tidying:
        now = yield tidying
    return now
