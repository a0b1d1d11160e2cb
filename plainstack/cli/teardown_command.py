"""The command behind `inv teardown`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from plainstack.cli.changes import failed_hosts, finish_on_interrupt, show_failed, sigint_restored
from plainstack.cli.command import INTERRUPTED, document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.errors import Refused

if TYPE_CHECKING:
    from plainstack.deploy.teardown import Teardown
    from plainstack.engine.plan.actions import HostPlan
    from plainstack.errors import HostFailed
    from plainstack.inventory.stack import Stack

Plans = Mapping[str, "HostPlan"]


def teardown(inventory: str, host: str, *, data: bool, yes: bool, json: bool, notify: bool) -> None:
    """Run `inv teardown`."""
    began = time.monotonic()
    console = Console(json=json)
    with reporting(console, json=json):
        stack = load(inventory, notify=notify)

        from plainstack.deploy import teardown as work
        from plainstack.deploy.observe import Observer
        from plainstack.engine.role import assigned
        from plainstack.inventory import load as inventories

        registry = roles_of(stack)
        _, hosts = inventories.select(stack, assigned(registry), "", host)
        with Observer(stack, registry, (), hosts, needs_values=False) as observer:
            view = observer.observe(console.progress(), to_apply=True)
            found = work.plans(observer, view, data=data)
            pending = {name: plan for name, plan in found.items() if not plan.empty}
            _show(console, pending)
            show_failed(console, view.failed)
            done: Teardown | None = None
            if pending:
                _consent(console, stack, list(pending), yes=yes)
                done = _run(console, work.Teardown(observer, view, pending, console.progress(), _command()))
            code = _end(console, stack, view.failed, pending, done, began, json=json)
    if code:
        raise Exit(code=code)


def _command() -> str:
    return shlex.join(["inv", *sys.argv[1:]])


def _show(console: Console, pending: Plans) -> None:
    """Print what is removed, and what stays."""
    from plainstack.cli.report import plan_lines

    console.plan(plan_lines(pending, {}))
    for name, plan in pending.items():
        if plan.farewell is None:
            continue
        console.line()
        for one in plan.farewell.stays:
            console.line(f"{name}: {one.path} stays: {one.what}. To delete it too, add --data")
        if unknown := plan.farewell.unknown:
            console.line(
                f"{name}: these packages stay, because a version of Plainstack that did not record what it installed"
                f" deployed this host: {' '.join(unknown)}. To remove them: apt-get purge --autoremove PACKAGE...",
                "yellow",
            )


def _consent(console: Console, stack: Stack, hosts: Sequence[str], *, yes: bool) -> None:
    if yes:
        return
    console.line()
    answer = console.ask(f"to remove all of this from {', '.join(hosts)}, type the name of the stack: ")
    if answer != stack.stack.lower():
        raise Refused(f"nothing was done. Type {stack.stack}, or use --yes to skip this question")


def _run(console: Console, run: Teardown) -> Teardown:
    with console.progress() as progress, sigint_restored():
        run.listener = progress
        return run.run(on_start=finish_on_interrupt)


def _end(
    console: Console,
    stack: Stack,
    failed: Mapping[str, HostFailed],
    pending: Plans,
    done: Teardown | None,
    began: float,
    *,
    json: bool,
) -> int:
    """Report the result and return the exit code."""
    from plainstack.cli import notify, report

    outcomes = done.outcomes if done else ()
    problems = report.failures(failed, outcomes)
    interrupted = bool(done and done.cancelled.is_set())
    seconds = time.monotonic() - began
    if done:
        notify.tell(
            console,
            stack,
            "teardown",
            began,
            hosts=list(dict.fromkeys(each.node.host for each in outcomes if not each.skipped)),
            failures=report.failed_hosts(failed, outcomes),
            interrupted=interrupted,
        )
    code = INTERRUPTED if interrupted else int(bool(problems))
    if json:
        document(_as_data(failed, pending, done) | {"interrupted": interrupted, "seconds": round(seconds, 2)})
        return code
    for problem in problems if done else ():
        console.error(problem)
    for warning in done.warnings if done else ():
        console.line(f"WARNING: {warning}", "bold yellow")
    if interrupted:
        console.error("interrupted; run the same command again to continue")
    if not pending and not failed:
        console.line("nothing to do: there is nothing left to remove from these hosts", "bold green")
    elif not problems and not interrupted:
        count = f"{len(pending)} host{'s' if len(pending) != 1 else ''}"
        console.line(f"{count} torn down in {seconds:.1f} s", "bold green")
        _say_what_stays(console, stack)
    return code


def _as_data(failed: Mapping[str, HostFailed], pending: Plans, done: Teardown | None) -> dict[str, Any]:
    from plainstack.cli.report import as_data

    outcomes = done.outcomes if done else ()
    return {
        "removed": as_data(pending),
        "stays": {
            name: [{"path": one.path, "what": one.what} for one in plan.farewell.stays]
            for name, plan in pending.items()
            if plan.farewell and plan.farewell.stays
        },
        "unknown_packages": {
            name: list(plan.farewell.unknown)
            for name, plan in pending.items()
            if plan.farewell and plan.farewell.unknown
        },
        "stages": [
            {
                "host": one.node.host,
                "stage": one.node.stage,
                "begin": round(one.begin, 2),
                "end": round(one.end, 2),
                "error": str(one.error) if one.error else None,
                "skipped": one.skipped or None,
            }
            for one in outcomes
        ],
        "failed": failed_hosts(failed),
        "warnings": done.warnings if done else [],
    }


def _say_what_stays(console: Console, stack: Stack) -> None:
    console.line(
        f"on this machine, the stack's secrets, certificates and pinned host keys stay in {stack.state}: inv deploy"
        " needs them to build the hosts again with the data that stayed. If you do not need them, delete that folder"
    )
