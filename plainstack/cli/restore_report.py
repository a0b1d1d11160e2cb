"""What `inv restore` prints: what it is about to do, each step, and what the operator may want to do afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from plainstack.cli.console import Console

if TYPE_CHECKING:
    from plainstack.deploy.step_runner import Event
    from plainstack.postgresql.restore.situation import Request, Situation


def prospect(now: Situation, request: Request) -> Iterator[str]:
    yield f"the database is brought back to its state {request.says}, from backup {request.target[0].partition('=')[2]}"
    yield f"later commits are removed from it; {request.leader} becomes the primary"
    for one in request.files:
        yield f"the files of {one.key} of {one.host} are brought back from snapshot {one.snapshot}"
    hosts = ", ".join(node.name for node in now.reached)
    yield f"the current data is kept on {hosts}. To put it back: inv restore --undo"
    for node in now.away:
        yield f"{node.name} does not answer: it is fenced off, and can rejoin later: fab failover rejoin"
    if request.closed:
        yield f"visitors of {', '.join(request.closed)} get the maintenance page meanwhile"


def afterwards(now: Situation, done: str) -> Iterator[str]:
    kept = [host for host, found in now.kept.items() if found]
    if done == "restored" and kept:
        yield f"the previous data is kept on {', '.join(kept)}. To put it back: inv restore --undo"
        yield "to delete it, when you are sure: inv restore --discard"
        yield "if a release has migrated the database since that moment, migrate again, or roll the release back"
    elif kept:
        yield f"the data that was restored is kept on {', '.join(kept)}. To delete it: inv restore --discard"
    if now.away:
        yield f"when {', '.join(node.name for node in now.away)} answers: fab failover rejoin"


def reporter(console: Console) -> Callable[[Event], None]:
    def report(event: Event) -> None:
        step = event.step
        if event.progress:
            console.line(f"[{event.at:6.1f}s] {step.host}: {event.progress}")
        elif event.done is None:
            console.line(f"[{event.at:6.1f}s] {step.host}: {step.says} ...")
        elif event.done.error:
            grave = "did not succeed" if step.optional else "FAILED"
            took = event.done.end - event.done.begin
            console.line(f"[{event.at:6.1f}s] {step.host}: {step.says}: {grave} ({took:.1f} s)", "bold red")
            for line in event.done.error.split("; "):
                console.line(f"          {line}")
        else:
            took = event.done.end - event.done.begin
            console.line(f"[{event.at:6.1f}s] {step.host}: {step.says}: done ({took:.1f} s)")

    return report
