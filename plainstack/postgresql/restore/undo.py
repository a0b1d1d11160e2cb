"""Decides how a restore is undone: the data directories that it put aside become the database again."""

from __future__ import annotations

from plainstack.errors import Refused
from plainstack.postgresql.failover.phases import Do, Step
from plainstack.postgresql.restore import folder_steps, quiet
from plainstack.postgresql.restore.acts import Act, Part, Plan, RestoreStep
from plainstack.postgresql.restore.decisions import start_replicas, tidy_leader
from plainstack.postgresql.restore.situation import Request, Situation


def undone(now: Situation) -> Request:
    """Return the restore to undo: the unfinished one, or else the newest whose old data is kept.

    Raises Refused if there is none.
    """
    restore = now.unfinished or now.last
    if not restore:
        raise Refused("there is nothing to undo: no db host keeps data from before a restore")
    if now.request and now.request.id == restore:
        return now.request
    return Request(restore, "", "", (), _old_primary(now, restore), _old_primary(now, restore))


def undo(now: Situation) -> Plan:
    """Put the data from before a restore back, up to the checks before the site opens."""
    request = undone(now)
    leader = request.before or _old_primary(now, request.id)
    _all_answer(now, request)
    if now.reachable and now.request and "undo" not in now.request.done:
        now = yield (RestoreStep(Act.MARK, now.backup, "record that the restore is undone", (request.id, "undo")),)
    kept = [node for node in now.reached if now.has_kept(node.name, "before", request.id)]
    rivals = [node for node in now.topology.primaries if node.name != leader and node not in kept]
    if kept or rivals or folder_steps.exchanged(now, request.id):
        now = yield from quiet.close_and_halt(now, request)
    if kept or rivals:
        now = yield from quiet.stand_down(now, request, [*kept, *rivals], "to put the old data back")
    if kept:
        says = "put the old data directory back"
        now = yield tuple(RestoreStep(Act.PUT_BACK, node.name, says, (request.id,)) for node in kept)
    now = yield from folder_steps.put_back(now, request.id)
    now = yield from _start(now, request, leader)
    if any(now.has_kept(node.name, "undone", request.id) for node in now.reached):
        yield from quiet.settle(now, request, "undo-")
    else:
        yield from _forget(now, request)


def _all_answer(now: Situation, request: Request) -> None:
    """Raise Refused if a db host does not answer: its old data may be needed, and its new data must not be served."""
    for node in now.away:
        raise Refused(
            f"{node.name} does not answer, and may keep data from before restore {request.id}. Bring it back (power,"
            " network, SSH) and type this again"
        )


def _old_primary(now: Situation, restore: str) -> str:
    """Return the host whose kept data is a primary's, the newest of several; empty if there is none."""
    found = [
        (kept.timeline, host)
        for host in now.kept
        if (kept := now.has_kept(host, "before", restore)) and not (kept.standby or kept.empty)
    ]
    return max(found)[1] if found else ""


def _start(now: Situation, request: Request, leader: str) -> Part:
    """Start the servers as they were before the restore; without an earlier primary, only let them start."""
    if leader and now.topology.node(leader).state not in ("primary", "empty"):
        says = "start as the primary, on a timeline of its own"
        now = yield (RestoreStep(Act.LEAD_AGAIN, leader, says, (request.id,)),)
    if leader and now.topology.node(leader).state == "primary":
        now = yield from tidy_leader(now, leader)
        now = yield from start_replicas(now, leader, [node.name for node in now.reached if node.name != leader])
    past = tuple(
        Step(Do.KEEP_OUT, node.name, "keep PostgreSQL from starting as a primary")
        for node in now.reached
        if leader and node.restoring and node.state == "stopped primary" and node.name != leader and not node.fenced
    )
    if past:
        now = yield past
    held = tuple(
        RestoreStep(Act.RELEASE, node.name, "let PostgreSQL start again") for node in now.reached if node.restoring
    )
    if held:
        now = yield held
    return now


def _forget(now: Situation, request: Request) -> Part:
    """Undo a restore that has not replaced any data: drop the recovered copy, and start the processes again."""
    if now.reachable and now.scratch:
        now = yield (RestoreStep(Act.DROP_SCRATCH, now.backup, "drop the recovered copy", (request.id,)),)
    if now.reachable:
        now = yield (RestoreStep(Act.RECEIVE, now.backup, "receive WAL again"),)
    resuming = tuple(
        RestoreStep(Act.RESUME, host, "start the processes of the services again")
        for host, halted in now.halted.items()
        if halted
    )
    if resuming:
        now = yield resuming
    return now
