"""The command behind `inv maintenance`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.cli.notify import tell
from plainstack.cli.selection import must_be_known
from plainstack.errors import HostFailed, Refused

if TYPE_CHECKING:
    from plainstack.inventory.stack import Stack
    from plainstack.services.maintenance import Closed, Survey
    from plainstack.ssh.connections import Sessions

ACTIONS = ("on", "off", "status")


def maintenance(inventory: str, action: str, service: str, message: str, *, json: bool, notify: bool) -> None:
    """Run `inv maintenance`."""
    began = time.monotonic()
    console = Console(json=json)
    with reporting(console, json=json, shows=action == "status"):
        from plainstack.deploy.hurry import hurried
        from plainstack.services import maintenance as services
        from plainstack.ssh.connections import Sessions

        _must_be_well_typed(action, message)
        stack = load(inventory, notify=notify)
        if not services.entrances(stack):
            raise Refused("this stack has no host that could show visitors a maintenance page")
        known = services.closable(stack)
        if service:
            must_be_known("service", service, known)
        chosen = [service] if service else known
        with Sessions(hurried(stack)) as sessions:
            survey, failed = _look(sessions, [host.name for host in services.entrances(stack)])
            if action != "status":
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                failed |= _change(stack, sessions, survey, action, chosen, message, now)
                after, lost = _look(sessions, [name for name in survey.hosts if name not in failed])
                failed |= lost
                done = [name for name, here in survey.hosts.items() if here is not None and name not in failed]
                details = {"switched": action, "services": chosen, "message": message}
                tell(console, stack, "maintenance", began, hosts=done, failures=failed, details=details)
                survey = services.Survey({name: after.hosts.get(name) for name in survey.hosts})
        if json:
            document(_as_data(survey, failed))
        else:
            _show(console, survey, failed, action, chosen)
    if failed or list(survey.problems()):
        raise Exit(code=1)


def _must_be_well_typed(action: str, message: str) -> None:
    from plainstack.services import maintenance as services

    must_be_known("action", action, list(ACTIONS))
    if message and action != "on":
        raise Refused(f"--message is what visitors read during maintenance; maintenance {action} does not take it")
    if problem := services.problem_of(message):
        raise Refused(f"--message: {problem}")


def _look(sessions: Sessions, names: list[str]) -> tuple[Survey, dict[str, str]]:
    """Return what the balancers say, and why each of those that were not reached failed. Raises Refused."""
    from plainstack.services import maintenance as services
    from plainstack.ssh.connections import fan_out

    def one(name: str) -> dict[str, str]:
        said = sessions.to(name).script(services.FACTS, step="look at maintenance")
        return dict(line.split("=", 1) for line in said.out.splitlines() if "=" in line)

    answers = fan_out(names, one)
    failed = {name: str(answer) for name, answer in answers.items() if isinstance(answer, HostFailed)}
    facts = {name: None if isinstance(answer, HostFailed) else answer for name, answer in answers.items()}
    if bare := [name for name, seen in facts.items() if seen is not None and "maintenance" not in seen]:
        what = f"inv deploy --host={','.join(bare)} installs what is needed for maintenance"
        raise Refused(f"{' and '.join(bare)}: has not been deployed with this version of Plainstack: {what}")
    if names and len(failed) == len(names):
        raise Refused("\n".join(failed.values()))
    return services.Survey.of(facts), failed


def _change(
    stack: Stack, sessions: Sessions, before: Survey, action: str, chosen: list[str], message: str, now: str
) -> dict[str, str]:
    """Close or open services on every balancer that was reached; return why hosts failed."""
    from plainstack.deploy import audit, operator
    from plainstack.services import maintenance as services
    from plainstack.ssh.connections import fan_out

    who, commit = operator.who(), operator.commit(stack)
    typed = shlex.join(["inv", *sys.argv[1:]])

    def wanted(service: str) -> Closed:
        first = before.first(service)
        text = message or (first.message if first else services.MESSAGE)
        return services.Closed(first.since if first else now, first.who if first else who, text)

    def one(name: str) -> None:
        for service in chosen:
            script = services.close(service, wanted(service)) if action == "on" else services.open_again(service)
            if service == chosen[-1]:
                script += services.SEEN
            record = audit.started(who, commit, typed, f"maintenance {service}", [f"maintenance {action}"], "done")
            done = sessions.to(name).script(f"set -e\n{script}{record}", step=f"maintenance {action} {service}")
            if done.code != 0:
                reason = "failed"
                raise HostFailed(name, f"maintenance {action} {service}", reason, done.err.splitlines()[-5:], done.code)

    reached = [name for name, here in before.hosts.items() if here is not None]
    return {name: str(done) for name, done in fan_out(reached, one).items() if isinstance(done, HostFailed)}


def _show(console: Console, now: Survey, failed: Mapping[str, str], action: str, chosen: list[str]) -> None:
    for service in chosen:
        if now.on(service):
            console.line(f"{now.sentence(service)} (on {', '.join(now.on(service))})", "yellow")
        elif now.without(service):
            console.line(f"{service}: open to visitors on {', '.join(now.without(service))}")
    for name, problem in now.problems():
        console.error(f"{name}: {problem}")
    for error in failed.values():
        console.error(error)
    if failed and action != "status":
        console.error(f"unchanged: {', '.join(failed)}. When they answer: inv maintenance {action}")


def _as_data(now: Survey, failed: Mapping[str, str]) -> dict[str, object]:
    return {
        "hosts": {
            name: None if here is None else {service: asdict(state) for service, state in here.items()}
            for name, here in now.hosts.items()
        },
        "failed": failed,
    }
