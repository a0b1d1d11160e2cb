"""Decides how a stack is closed before its data is replaced, and how it is opened again."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.postgresql.failover.phases import Do, Step
from plainstack.postgresql.observation import Node
from plainstack.postgresql.restore.acts import Act, AnyStep, Part, RestoreStep
from plainstack.postgresql.restore.situation import Request, Situation


def close_and_halt(now: Situation, request: Request) -> Part:
    """Show visitors the maintenance page, and stop the processes of the services; hosts that are away are skipped."""
    closing = [
        RestoreStep(Act.CLOSE, host, "show visitors the maintenance page", missing)
        for host, here in now.closed.items()
        if here is not None and (missing := tuple(name for name in request.closed if name not in here))
    ]
    if closing:
        now = yield tuple(closing)
    halting = [
        RestoreStep(Act.HALT, host, "stop the processes of the services")
        for host, count in now.running.items()
        if count
    ]
    if halting:
        now = yield tuple(halting)
    return now


def stand_down(now: Situation, request: Request, nodes: list[Node], why: str) -> Part:
    """Stop PostgreSQL on these hosts and keep it from starting; hosts that are away are fenced off by the others.

    The primary stops first, so that its replicas receive all that it wrote.
    """
    names = {node.name for node in nodes}
    for first in (True, False):
        stopping = tuple(
            RestoreStep(Act.STAND_DOWN, node.name, f"stop PostgreSQL, {why}", (request.id, request.says))
            for node in now.reached
            if node.name in names and (node.state == "primary") == first and _up(node, request)
        )
        if stopping:
            now = yield stopping
    fences = tuple(_fences(now))
    if fences:
        now = yield fences
    if now.reachable and not now.topology.primaries:
        # The new primary has another history, so Barman's own jobs would be in the way.
        now = yield (RestoreStep(Act.SILENCE, now.backup, "stop receiving WAL"),)
    return now


def _up(node: Node, request: Request) -> bool:
    return node.state in ("primary", "standby", "silent") or not node.restoring.startswith(request.id)


def _fences(now: Situation) -> Iterator[AnyStep]:
    """Yield the steps that fence off every db host that does not answer: its data is of another history."""
    away = [node.name for node in now.away]
    for node in now.reached:
        if missing := tuple(name for name in away if name not in node.fences):
            yield Step(Do.FENCE, node.name, f"fence off {', '.join(missing)}", missing)
    for client, fences in now.topology.clients.items():
        if fences is not None and (missing := tuple(name for name in away if name not in fences)):
            yield Step(Do.FENCE, client, f"fence off {', '.join(missing)}", missing, optional=True)


def settle(now: Situation, request: Request, prefix: str = "") -> Part:
    """Point Barman at the new history, start the processes again, and take a base backup."""
    if now.reachable and f"{prefix}reanchored" not in request_marks(now):
        says = "receive the WAL of the new history, and drop the recovered copy"
        now = yield (RestoreStep(Act.REANCHOR, now.backup, says, (request.id, f"{prefix}reanchored")),)
    resuming = tuple(
        RestoreStep(Act.RESUME, host, "start the processes of the services again")
        for host, halted in now.halted.items()
        if halted
    )
    if resuming:
        now = yield resuming
    if now.reachable and f"{prefix}backed-up" not in request_marks(now):
        now = yield (RestoreStep(Act.BACKUP, now.backup, "take a base backup", (request.id, f"{prefix}backed-up")),)
    return now


def request_marks(now: Situation) -> frozenset[str]:
    """Return the marks of the newest restore on the backup host."""
    return now.request.done if now.request else frozenset()


def reopen(now: Situation, request: Request) -> Part:
    """Open to visitors what the restore closed, and record its end."""
    opening = tuple(
        RestoreStep(Act.OPEN, host, "open the site to visitors", shut)
        for host, here in now.closed.items()
        if here is not None and (shut := tuple(name for name in request.closed if name in here))
    )
    if opening:
        now = yield opening
    if now.reachable:
        mark = "undone" if request.undo else "finished"
        now = yield (RestoreStep(Act.MARK, now.backup, "record the end", (request.id, mark)),)
    return now
