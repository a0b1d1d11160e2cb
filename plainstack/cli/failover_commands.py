"""The commands behind `fab failover`: each observes the cluster, acts, reports, and sets the exit code."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from invoke.exceptions import Exit

from plainstack.cli.changes import apply
from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.cli.notify import tell
from plainstack.cli.selection import must_be_known
from plainstack.deploy.failover import Cluster, Consent
from plainstack.deploy.step_runner import Done, Event
from plainstack.engine.network import Network
from plainstack.errors import AlreadySo, NotDeployed, Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.failover.decisions import Do, Phase
from plainstack.postgresql.findings import findings, healthy
from plainstack.postgresql.hosts import must_have_databases
from plainstack.postgresql.observation import Node, Topology
from plainstack.wording import size

ACTIONS = ("status", "switchover", "promote", "rejoin", "degrade", "resync", "drill", "drills")

HEADER = ("host", "state", "timeline", "LSN", "lag", "sync", "upstream", "slots (retained)")


def run(
    action: str,
    inventory: str,
    *,
    to: str,
    host: str,
    yes: bool,
    discard: bool,
    json: bool,
    notify: bool = True,
    **drill: Any,
) -> None:
    """Run `fab failover ACTION`."""
    console = Console(json=json)
    with reporting(console, json=json):
        must_be_known("action", action, [*ACTIONS])
        if to and action not in ("switchover", "promote"):
            raise Refused(f"--to names the new primary; failover {action} does not accept it")
        if (host or discard) and action != "rejoin":
            raise Refused(f"--host and --discard are for failover rejoin; failover {action} does not accept them")
    if action in ("drill", "drills"):
        from plainstack.cli import drill_commands as drills

        drills.run(action, inventory, yes=yes, json=json, **drill)
        return
    with reporting(console, json=json, shows=action == "status"):
        stack = load(inventory, notify=notify)
        began = time.monotonic()
        must_have_databases(stack, "fail over")
        command = shlex.join(["fab", *sys.argv[1:]])
        with Cluster(Network(stack, roles_of(stack)), command, _reporter(console)) as cluster:
            already = ""
            if action == "status":
                now = cluster.observe()
            else:
                consent = None if yes else _consent(console, stack)
                try:
                    now = _act(console, cluster, action, to, host, consent, discard=discard)
                except AlreadySo as so:
                    already = str(so)
                    now = cluster.observe()
            if cluster.log:
                failures = {done.step.host: f"{done.step.says}: {done.error}" for done in failed_steps(cluster.log)}
                hosts = list(dict.fromkeys(done.step.host for done in cluster.log))
                details = {"done": action, "primary": [node.name for node in now.primaries]}
                tell(console, stack, "failover", began, hosts=hosts, failures=failures, details=details)
            _show(console, cluster, action, now, already, json=json)
    if not healthy(now) if action == "status" else failed_steps(cluster.log):
        raise Exit(code=1)


def failed_steps(log: Sequence[Done]) -> list[Done]:
    """Return the steps whose last attempt failed, except those that may fail in a successful failover.

    KEEP_OUT may fail: a dead host cannot be stopped, but its peers have fenced it off. AWAIT_WAL may fail: if the last
    WAL does not arrive, later steps decide what to do.
    """
    last = {(done.step.do, done.step.host): done for done in log}
    return [done for done in last.values() if done.error and done.step.do not in (Do.KEEP_OUT, Do.AWAIT_WAL)]


def _act(
    console: Console, cluster: Cluster, action: str, to: str, host: str, consent: Consent | None, *, discard: bool
) -> Topology:
    if action == "switchover":
        return cluster.switchover(to)
    if action == "promote":
        return cluster.promote(to, consent)
    if action == "rejoin":
        try:
            return cluster.rejoin(host, discard=discard)
        except NotDeployed as bare:
            _deploy(console, cluster.stack, bare.hosts)
            return cluster.rejoin(host, discard=discard)
    if action == "degrade":
        return cluster.degrade(consent)
    return cluster.resync()


def _deploy(console: Console, stack: Stack, hosts: Sequence[str]) -> None:
    """Deploy hosts that were reinstalled; this also copies the primary's data to them and readmits them."""
    from plainstack.deploy.observe import Observer

    console.line(f"{' and '.join(hosts)}: reinstalled or never deployed; running inv deploy --host={','.join(hosts)}")
    began = time.monotonic()
    with Observer(stack, roles_of(stack), (), tuple(hosts)) as observer:
        view = observer.observe(console.progress(), to_apply=True)
        for error in view.failed.values():
            raise error
        code = apply(observer, view, console, began, json=False)
        if code:
            raise Refused(
                f"{' and '.join(hosts)} could not be deployed. Fix the errors above, then run this command again"
            )


def _consent(console: Console, stack: Stack) -> Consent:
    """Return a function that asks for confirmation before an irreversible phase; --yes skips it."""

    def ask(now: Topology, phase: Phase) -> None:
        for line in _lines(now):
            console.line(line)
        for step in phase:
            console.line(f"next, on {step.host}: {step.says}")
        if console.ask(f"continue with stack {stack.stack}? [y/N] ") != "y":
            raise Refused("nothing was done. Answer y, or use --yes to skip this question")

    return ask


def _reporter(console: Console) -> Callable[[Event], None]:
    def report(event: Event) -> None:
        if event.done is None:
            return
        took = event.done.end - event.done.begin
        if event.done.error:
            grave = "did not succeed" if event.step.optional else "FAILED"
            console.line(f"[{event.at:5.1f}s] {event.step.host}: {event.step.says}: {grave} ({took:.2f} s)", "bold red")
            for line in event.done.error.split("; "):
                console.line(f"         {line}")
        else:
            console.line(f"[{event.at:5.1f}s] {event.step.host}: {event.step.says} ({took:.2f} s)")

    return report


def _show(console: Console, cluster: Cluster, action: str, now: Topology, already: str, *, json: bool) -> None:
    sentences = findings(now)
    if json:
        document(
            {
                "healthy": healthy(now),
                "primary": [node.name for node in now.primaries],
                "hosts": [_as_data(now, node) for node in now.nodes.values()],
                "findings": sentences,
                "steps": [_step(done) for done in cluster.log],
                "already": already or None,
                "seconds": round(time.monotonic() - cluster.began, 2),
            }
        )
        return
    if action == "status":
        console.table(HEADER, [_row(now, node) for node in now.nodes.values()])
        if now.primaries and now.synchronous:
            names = now.primaries[0].synchronous
            console.line(f"writes wait for: {names or 'no replica'}")
    for name in now.nodes:
        if cluster.why(name):
            console.line(f"{name}: {cluster.why(name)}", "yellow")
    for text in sentences:
        console.line(text, "yellow")
    if action == "status":
        return
    if not cluster.log:
        console.line(f"nothing to do: {already or 'every database host is as it should be'}", "bold green")
        return
    seconds = time.monotonic() - cluster.began
    leader = now.primaries[0].name if len(now.primaries) == 1 else "unknown"
    console.line(f"{action} ended in {seconds:.1f} s. The primary is {leader}", "bold green")


def _lines(now: Topology) -> list[str]:
    return [f"{node.name} is {node.described}" for node in now.nodes.values()] + findings(now)


def _lag(now: Topology, node: Node) -> str:
    if node.state != "standby" or len(now.primaries) != 1:
        return "-"
    sender = now.primaries[0].sender(node.name)
    return f"{size(sender.lag_bytes)}, {sender.lag_seconds:.1f} s" if sender else "unknown"


def _sync(now: Topology, node: Node) -> str:
    sender = now.primaries[0].sender(node.name) if len(now.primaries) == 1 else None
    if node.degraded:
        return "degraded"
    return sender.sync_state if sender else "-"


def _row(now: Topology, node: Node) -> tuple[str, ...]:
    slots = ", ".join(f"{slot.name} ({size(slot.retained)})" for slot in node.slots if slot.active or slot.retained)
    return (
        node.name,
        node.label + (", fenced off" if now.fencing(node.name) else ""),
        str(node.timeline or "-"),
        node.lsn or "-",
        _lag(now, node),
        _sync(now, node),
        node.upstream or "-",
        slots or "-",
    )


def _as_data(now: Topology, node: Node) -> dict[str, Any]:
    return {
        **asdict(node),
        "fences": sorted(node.fences),
        "answering": sorted(node.answering),
        "reachable": node.reachable,
        "shut_out_by": now.fencing(node.name),
    }


def _step(done: Done) -> dict[str, Any]:
    return {
        "host": done.step.host,
        "do": done.step.do.value,
        "says": done.step.says,
        "begin": round(done.begin, 3),
        "end": round(done.end, 3),
        "error": done.error or None,
    }
