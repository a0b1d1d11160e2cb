"""The commands behind `inv stop` and `inv start`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.changes import apply
from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.cli.selection import must_be_known
from plainstack.errors import Refused
from plainstack.inventory.listed import listed

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer, View
    from plainstack.engine.resources import Resource
    from plainstack.inventory.stack import Stack
    from plainstack.services.stops import Part


def stop(
    inventory: str, service: str, process: str, host: str, *, json: bool, notify: bool, accept_outage: bool
) -> None:
    """Run `inv stop`."""
    _run("stop", inventory, service, process, host, json=json, notify=notify, accept_outage=accept_outage)


def start(inventory: str, service: str, process: str, host: str, *, json: bool, notify: bool) -> None:
    """Run `inv start`."""
    _run("start", inventory, service, process, host, json=json, notify=notify)


def _run(
    action: str,
    inventory: str,
    service: str,
    process: str,
    host: str,
    *,
    json: bool,
    notify: bool,
    accept_outage: bool = False,
) -> None:
    began = time.monotonic()
    console = Console(json=json)
    with reporting(console, json=json):
        stack = load(inventory, notify=notify)
        chosen = _chosen(stack, service, process, host)

        from plainstack.deploy.observe import Observer
        from plainstack.deploy.operator import who
        from plainstack.services import processes, stops

        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        change = (stops.stop if action == "stop" else stops.start)(service, chosen, at, who())
        hosts = tuple(one.name for one in processes.hosts(stack, service))
        # Starting a unit records a stamp of its inputs, which include secrets.
        with Observer(stack, roles_of(stack), (), hosts, needs_values=action == "start") as observer:
            observer.change = change
            observer.accept_outage = accept_outage
            view = _observed(observer, console, action, service)
            if view.pending:
                code = apply(observer, view, console, began, json=json, action=action)
            else:
                code = _nothing_to_do(console, view, action, service, json=json)
            if not json and not code:
                _say_what_it_means(console, observer.stack, action, service)
    if code:
        raise Exit(code=code)


def _chosen(stack: Stack, service: str, process: str, host: str) -> list[Part]:
    """Return the selected processes and timers, each with its host. Raises Refused."""
    from plainstack.services import stops

    must_be_known("service", service, list(stack.services))
    parts = stops.parts(stack, service)
    if process:
        must_be_known(f"process or timer of {service}", process, list(dict.fromkeys(name for name, _ in parts)))
    named = listed(host, "--host")
    for name in named:
        must_be_known("host", name, list(stack.hosts))
    found = [(name, where) for name, where in parts if process in ("", name)]
    running = list(dict.fromkeys(where for _, where in found))
    if others := [name for name in named if name not in running]:
        raise Refused(f"{', '.join(others)}: does not run {process or service}; these do: {', '.join(running)}")
    if not found:
        raise Refused(f"no host runs {service}")
    return [(name, where) for name, where in found if not named or where in named]


def _observed(observer: Observer, console: Console, action: str, service: str) -> View:
    """Return a plan for the units alone. Raises Refused if a unit would start with undeployed changes."""
    from plainstack.deploy.focus import Focus
    from plainstack.engine.resources import Unit
    from plainstack.services import holds, processes, stops

    keys = stops.keys(observer.stack, service)
    due: dict[str, set[str]] = {}
    if action == "start":
        observer.focus = Focus(processes.ROLES, holds.without(service), keys)
        due = _subjects(observer.observe(console.progress(), to_apply=True))

    def leaves(item: Resource) -> bool:
        # A process that cannot be started on another host must not prevent this stop.
        return action == "stop" and isinstance(item, Unit) and item.running

    observer.focus = Focus(processes.ROLES, lambda stack: stack, keys, leaves)
    view = observer.observe(console.progress(), to_apply=True)
    started = _subjects(view)
    if changed := [name for name, subjects in due.items() if subjects - started.get(name, set())]:
        raise Refused(
            f"{', '.join(changed)}: {service} has changes that are not deployed. Run inv deploy, which leaves"
            f" {service} stopped; then: inv start {service}"
        )
    return view


def _subjects(view: View) -> dict[str, set[str]]:
    return {name: {action.subject() for _, action in plan.actions()} for name, plan in view.plans.items()}


def _nothing_to_do(console: Console, view: View, action: str, service: str, *, json: bool) -> int:
    if json:
        document({"changed": {}, "failed": {name: str(error) for name, error in view.failed.items()}})
        return int(bool(view.failed))
    for error in view.failed.values():
        console.error(str(error))
    if view.plans:
        done = "stopped" if action == "stop" else "started"
        console.line(f"nothing to do: {service} is {done} on {', '.join(view.plans)}")
    return int(bool(view.failed))


def _say_what_it_means(console: Console, stack: Stack, action: str, service: str) -> None:
    from plainstack.services import maintenance, stops
    from plainstack.services.processes import served

    for sentence in dict.fromkeys(sentence for _, sentence in stops.sentences(stack)):
        if sentence.startswith(f"{service}: "):
            console.line(sentence)
    mine = [one for one in served(stack) if one.service == service and one.hosts]
    dark = [one for one in mine if not stops.served_by(stack, one)]
    if action == "stop" and dark and maintenance.entrances(stack):
        console.line(
            f"visitors get an error page with status 502. For a page with a message: inv maintenance on"
            f" --service={service}"
        )
