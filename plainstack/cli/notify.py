"""Sends the notifications of the inventory's `notify` after a command."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plainstack.cli.console import Console
    from plainstack.deploy.observe import Observer
    from plainstack.inventory.stack import Stack

Releases = Mapping[str, Mapping[str, str]]
"""The release of each service, by service and host."""


def wanted(stack: Stack) -> bool:
    """Return whether the inventory asks for notifications."""
    return stack.notify.command is not None or stack.notify.webhook is not None


def releases(observer: Observer) -> Releases:
    """Return the releases that the observed hosts run; nothing if no notification is sent."""
    from plainstack.services import running

    stack = observer.stack
    if not wanted(stack):
        return {}
    names = {host.name for service in stack.services for host in running.hosts(stack, service)} & {*observer.hosts}
    answers = observer.ask(dict.fromkeys(names, running.releases(stack)))
    return {
        service: {
            name: facts[f"release.{service}"]
            for name, facts in answers.items()
            if facts and facts.get(f"release.{service}")
        }
        for service in stack.services
    }


def changes(before: Releases, after: Releases) -> dict[str, dict[str, object]]:
    """Return the services whose release has changed: the old and the new one, and the hosts with what they run."""

    def ids(found: Mapping[str, str]) -> str | None:
        return ",".join(dict.fromkeys(found.values())) or None

    return {
        service: {"before": ids(before.get(service, {})), "after": ids(now), "hosts": dict(now)}
        for service, now in after.items()
        if now != before.get(service, {})
    }


def tell(
    console: Console,
    stack: Stack,
    action: str,
    began: float,
    *,
    hosts: Sequence[str] = (),
    failures: Mapping[str, str] | None = None,
    interrupted: bool = False,
    services: Mapping[str, Mapping[str, object]] | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Send what a command did; `began` is when it began, by the monotonic clock."""
    if not wanted(stack):
        return
    from plainstack.deploy import notification, operator

    report = notification.Report(
        action=action,
        command=shlex.join([sys.argv[0].rpartition("/")[2], *sys.argv[1:]]),
        stack=stack.stack,
        who=operator.who(),
        commit=operator.commit(stack),
        result="interrupted" if interrupted else "failed" if failures else "done",
        seconds=round(time.monotonic() - began, 2),
        hosts=list(hosts),
        failures=failures or {},
        services=services or {},
        details=details or {},
    )
    notification.send(stack, report, console.error)
