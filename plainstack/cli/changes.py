"""How the commands that change hosts show a plan, apply it and report the result."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from plainstack.cli.command import INTERRUPTED, document
from plainstack.cli.console import Console
from plainstack.errors import HostFailed
from plainstack.wording import counted

if TYPE_CHECKING:
    from plainstack.engine.plan.actions import HostPlan


def failed_hosts(failed: Mapping[str, HostFailed]) -> dict[str, str]:
    """Return the errors of hosts as JSON data."""
    return {name: str(error) for name, error in failed.items()}


def show_failed(console: Console, failed: Mapping[str, HostFailed]) -> None:
    """Print the errors of hosts."""
    for error in failed.values():
        console.error(str(error))


def show_plan(observer: Any, view: Any, console: Console, *, shorten: bool = False, verbose: bool = False) -> None:
    """Print the plan with diffs; read old content only from hosts with changed files.

    With `shorten`, the first deploy of a host is printed as counts.
    """
    from plainstack.cli.report import changed_files, fetch_script, parse_fetched, plan_lines
    from plainstack.deploy import conclusions
    from plainstack.engine.transition import notes
    from plainstack.ssh.connections import fan_out

    pending: Mapping[str, HostPlan] = view.pending
    new = frozenset(name for name in pending if shorten and not view.observed[name].manifest)
    paths = {name: changed_files(plan) for name, plan in pending.items() if name not in new}

    def fetch(name: str) -> dict[str, bytes]:
        return parse_fetched(observer.sessions.to(name).script(fetch_script(paths[name]), step="read for the diff").out)

    fetched = fan_out([name for name in paths if paths[name]], fetch)
    old = {name: content for name, content in fetched.items() if not isinstance(content, HostFailed)}
    console.plan(plan_lines(pending, old, observer.vault.everything(), new, verbose=verbose))
    for note in notes(view.stack, observer.roles):
        console.line(note)
    for name, path in conclusions.overrides(observer).items():
        console.line(f"override: {name} from {path}")
    if pending:
        console.line()
    for text in conclusions.findings(observer, view):
        console.line(f"note: {text}")


def apply(
    observer: Any,
    view: Any,
    console: Console,
    began: float,
    *,
    json: bool,
    action: str = "deploy",
    stay: Sequence[str] = (),
) -> int:
    """Show the pending changes, apply them, report the result, and return the exit code.

    `stay` are sentences about what the command leaves as it is; they are repeated at the end.
    A value that several hosts must change together needs a second pass; see plainstack.engine.transition.
    """
    from plainstack.cli import notify, report
    from plainstack.deploy.deployment import deploy

    command = shlex.join(["inv", *sys.argv[1:]])
    passes: list[Any] = []
    outcomes: list[Any] = []
    failed: dict[str, HostFailed] = {}
    before = notify.releases(observer)
    while not passes or view.pending:
        show_plan(observer, view, console, shorten=console.live)
        offset = time.monotonic() - began if passes else 0.0
        with console.progress() as progress, sigint_restored():
            passes.append(deploy(observer, view, progress, command, on_start=finish_on_interrupt))
        outcomes += [outcome.later(offset) for outcome in passes[-1].outcomes]
        failed |= view.failed
        if passes[-1].cancelled.is_set() or report.failures(failed, outcomes) or view.stack == observer.stack:
            break
        view = observer.observe(console.progress(), to_apply=True)
    problems = report.failures(failed, outcomes)
    warnings = [warning for one in passes for warning in one.warnings]
    interrupted = passes[-1].cancelled.is_set()
    code = INTERRUPTED if interrupted else int(bool(problems))
    seconds = time.monotonic() - began
    notify.tell(
        console,
        observer.stack,
        action,
        began,
        hosts=list(dict.fromkeys(each.node.host for each in outcomes if not each.skipped)),
        failures=report.failed_hosts(failed, outcomes),
        interrupted=interrupted,
        services=notify.changes(before, notify.releases(observer)),
    )
    changed = report.merged(report.as_data(one.plans) for one in passes)
    if json:
        document(
            {
                "changed": changed,
                "stages": [
                    {
                        "host": outcome.node.host,
                        "stage": outcome.node.stage,
                        "begin": round(outcome.begin, 2),
                        "end": round(outcome.end, 2),
                        "error": str(outcome.error) if outcome.error else None,
                        "skipped": outcome.skipped or None,
                    }
                    for outcome in outcomes
                ],
                "failed": failed_hosts(failed),
                "warnings": warnings,
                "notes": [*stay],
                "interrupted": interrupted,
                "seconds": round(seconds, 2),
            }
        )
        return code
    console.line()
    for one in passes:
        for line in report.summary(one.plans, one.outcomes):
            console.line(line)
    console.line("\nwhere the time went:")
    for line in report.timeline(outcomes, max((outcome.end for outcome in outcomes), default=0)):
        console.line(line)
    console.line()
    for problem in problems:
        console.error(problem)
    for warning in warnings:
        console.line(f"WARNING: {warning}", "bold yellow")
    for text in stay:
        console.line(f"note: {text}", "yellow")
    reached = counted(len({outcome.node.host for outcome in outcomes}), "host")
    bad = len({outcome.node.host for outcome in outcomes if outcome.error or outcome.skipped} | set(failed))
    every = counted(len(view.plans) + len(view.failed), "host")
    verdict = f"{bad} of {every} failed" if problems else f"{reached} changed"
    console.line(f"{verdict} in {seconds:.1f} s", "bold red" if problems else "bold green")
    if problems:
        from plainstack.cli.release_commands import after_failure

        after_failure(observer, [each.node.stage for each in outcomes if each.error or each.skipped], console)
    if interrupted:
        console.error("interrupted; run the same command again to continue")
    return code


@contextlib.contextmanager
def sigint_restored() -> Iterator[None]:
    """Put back the handling of Ctrl-C that `finish_on_interrupt` replaces."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def finish_on_interrupt(deployment: Any) -> None:
    """On Ctrl-C, let every host finish its transaction and start no other; on a second Ctrl-C, exit at once."""

    def first(_signal: int, _frame: FrameType | None) -> None:
        deployment.listener.note("interrupted: every host finishes its transaction; press Ctrl-C again to exit at once")
        deployment.cancelled.set()
        signal.signal(signal.SIGINT, second)

    def second(_signal: int, _frame: FrameType | None) -> None:
        # A normal exit would wait for the worker threads, and printing could wait for the console's lock.
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""
        said = (
            "exited; every host finishes or undoes its transaction on its own. Run the same command again to continue"
        )
        with contextlib.suppress(OSError):
            os.write(2, f"{shown}\n{said}\n".encode())
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, first)
