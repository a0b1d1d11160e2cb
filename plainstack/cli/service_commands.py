"""The command behind `inv restart`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from plainstack.cli.changes import finish_on_interrupt, sigint_restored
from plainstack.cli.command import INTERRUPTED, document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.cli.notify import tell
from plainstack.cli.selection import chosen_units
from plainstack.errors import HostFailed, NotDeployed, Refused, Untouched

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer, View
    from plainstack.deploy.schedule import Outcome
    from plainstack.engine.plan.actions import HostPlan


def restart(
    inventory: str,
    service: str,
    process: str,
    host: str,
    *,
    json: bool,
    notify: bool = True,
    accept_outage: bool = False,
) -> None:
    """Run `inv restart`."""
    began = time.monotonic()
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.deploy.observe import Observer, View
        from plainstack.deploy.restart import Restart

        stack = load(inventory, notify=notify)
        units = chosen_units(stack, service, process, host)
        with Observer(stack, roles_of(stack), (), tuple(units), needs_values=False) as observer:
            observer.accept_outage = accept_outage
            view = observer.observe(console.progress())
            if view.failed:
                raise Refused(_unreachable(view.failed))
            plans = _plans(observer, view, service, units)
            _say_pending(view, console)
            restarting = View(stack, plans=plans, observed=view.observed)
            command = shlex.join(["inv", *sys.argv[1:]])
            with console.progress() as progress, sigint_restored():
                run = Restart(observer, restarting, progress, command, restarting=plans)
                finish_on_interrupt(run)
                run.run()
        errors = {outcome.node.host: str(outcome.error) for outcome in run.outcomes if outcome.error}
        touched = list(dict.fromkeys(outcome.node.host for outcome in run.outcomes if not outcome.skipped))
        interrupted = run.cancelled.is_set()
        details = {"service": service, "process": process or None}
        tell(console, stack, "restart", began, hosts=touched, failures=errors, interrupted=interrupted, details=details)
        code = _report(console, service, run.outcomes, time.monotonic() - began, json=json)
        if interrupted:
            code = INTERRUPTED
    if code:
        raise Exit(code=code)


def _plans(observer: Observer, view: View, service: str, units: Mapping[str, Mapping[str, str]]) -> dict[str, HostPlan]:
    """Return the plan of each host. Raises NotDeployed if a host does not have the units yet."""
    from plainstack.deploy.restart import restarts
    from plainstack.services import running, stops

    stack = observer.stack
    answers = observer.ask(dict.fromkeys(units, running.current(service)))
    plans = {}
    for name, mine in units.items():
        release = (answers[name] or {}).get("release", "")
        health = running.healths(stack, service, stack.hosts[name], mine, release)
        plans[name] = restarts(name, observer.desired[name], view.observed[name], list(mine), health)
    bare = [name for name, plan in plans.items() if plan.empty]
    if stopped := [sentence for name, sentence in stops.sentences(stack) if name in bare]:
        raise Refused("\n".join(dict.fromkeys(stopped)))
    if bare:
        raise NotDeployed(bare)
    return plans


def _unreachable(failed: Mapping[str, HostFailed]) -> str:
    reasons = "\n".join(map(str, failed.values()))
    return f"{reasons}\nNothing was restarted. To leave a host out, name the others with --host"


def _say_pending(view: View, console: Console) -> None:
    if pending := list(view.pending):
        console.line(
            f"note: changes for {', '.join(pending)} are not deployed; a restart does not deploy them: inv plan"
        )


def _report(console: Console, service: str, outcomes: Sequence[Outcome], seconds: float, *, json: bool) -> int:
    done = [outcome.node.host for outcome in outcomes if not outcome.error and not outcome.skipped]
    errors = [outcome.error for outcome in outcomes if outcome.error]
    left = [outcome.node.host for outcome in outcomes if outcome.skipped]
    if json:
        data: dict[str, Any] = {
            "service": service,
            "restarted": list(dict.fromkeys(done)),
            "failed": {error.host: str(error) for error in errors},
            "untouched": left,
            "seconds": round(seconds, 2),
        }
        document(data)
        return int(bool(errors or left))
    for error in errors:
        console.error(str(error))
        if not isinstance(error, Untouched):
            console.error(f"{error.host}: see inv logs {service} --host={error.host} --since=5m")
    if left:
        console.error(f"not restarted: {', '.join(left)}. When {service} works again: inv restart {service}")
    if not errors and not left:
        console.line(f"restarted {service} on {', '.join(dict.fromkeys(done))} in {seconds:.1f} s", "bold green")
    return int(bool(errors or left))
