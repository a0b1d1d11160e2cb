"""The commands behind `inv releases` and `inv rollback`, and the advice on releases after a failed deploy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.changes import apply
from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.cli.selection import must_be_known
from plainstack.errors import HostFailed, InventoryError, PlainstackError, Refused

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer, View
    from plainstack.inventory.held import Pinned
    from plainstack.inventory.stack import Stack
    from plainstack.services.kept import OnHost
    from plainstack.ssh.connections import Sessions


def releases(inventory: str, service: str, *, json: bool) -> None:
    """Run `inv releases`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.cli import release_list
        from plainstack.ssh.connections import Sessions

        stack = load(inventory)
        names = [_service(stack, service)] if service else list(stack.services)
        with Sessions(stack) as sessions:
            seen = {name: _look(stack, sessions, name) for name in names}
        failed = {host: found for one in seen.values() for host, found in one.items() if isinstance(found, HostFailed)}
        if json:
            document(
                {
                    "services": {name: release_list.data(_reached(one)) for name, one in seen.items()},
                    "failed": _texts(failed),
                }
            )
        else:
            release_list.show(console, {name: _reached(one) for name, one in seen.items()})
            for error in failed.values():
                console.error(str(error))
    if failed:
        raise Exit(code=1)


def rollback(
    inventory: str, service: str, to: str, *, json: bool, notify: bool = True, accept_outage: bool = False
) -> None:
    """Run `inv rollback`."""
    began = time.monotonic()
    console = Console(json=json)
    with reporting(console, json=json):
        stack = load(inventory, notify=notify)

        from plainstack.deploy.focus import Focus
        from plainstack.deploy.observe import Observer
        from plainstack.deploy.operator import who
        from plainstack.services import asset_files, holds, port_changes, processes, rollback

        name = _service(stack, service)
        hosts = tuple(host.name for host in processes.hosts(stack, name))
        serving = [host.name for host in asset_files.hosts(stack, name) if host.name not in hosts]
        with Observer(stack, roles_of(stack), (), (*hosts, *serving)) as observer:
            observer.accept_outage = accept_outage
            seen = _reached(_look(stack, observer.sessions, name))
            failed = [host for host in hosts if host not in seen]
            seen = {host: one for host, one in seen.items() if one.current}
            if not seen:
                raise Refused(_nowhere(name, failed))
            # A host that is new in the inventory has no release yet, and is left alone.
            observer.hosts = (*seen, *failed, *serving)
            at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            pin = rollback.target(name, seen, to, at, who())
            pinned = {} if _source(stack, name) == pin.release else {name: pin}
            observer.change = holds.only(name, pinned)
            observer.focus = Focus(
                (*processes.ROLES, asset_files.ROLE, asset_files.USE), holds.without(name), holds.keys(name)
            )
            view = observer.observe(console.progress(), to_apply=True)
            if closed := list(port_changes.closed(observer.stack, name, view.observed)):
                raise Refused("\n".join(closed))
            if not json:
                _announce(console, stack, name, seen, pin)
            if view.pending:
                code = apply(observer, view, console, began, json=json, action="rollback")
            else:
                code = _nothing_to_do(console, view, json=json)
            if not json and not code:
                console.line(_after(name, pin, pinned))
    if code:
        raise Exit(code=code)


def _nowhere(service: str, failed: Sequence[str]) -> str:
    if failed:
        return f"no host that runs {service} could be reached: {', '.join(failed)} did not answer"
    return f"{service} has no release yet: inv deploy"


def _service(stack: Stack, service: str) -> str:
    """Return the name of the service that is meant; it may be left out if there is only one."""
    known = list(stack.services)
    if not known:
        raise Refused("the inventory has no services")
    if not service and len(known) > 1:
        raise Refused(f"which service? --service={known[0]}; known: {', '.join(known)}")
    if service:
        must_be_known("service", service, known)
    return service or known[0]


def _look(stack: Stack, sessions: Sessions, service: str) -> Mapping[str, OnHost | HostFailed]:
    """Return what the hosts of a service keep, or their errors; by host, in inventory order."""
    from plainstack.engine import probe
    from plainstack.services import kept, processes
    from plainstack.ssh.connections import fan_out

    text = probe.script((), [kept.script(service)])

    def look(name: str) -> OnHost:
        answer = sessions.to(name).script(text, step="look at the releases")
        try:
            return kept.parse(stack, service, probe.parse(answer.out).facts)
        except PlainstackError as error:
            raise HostFailed(name, "look at the releases", str(error), answer.err.splitlines()[-5:]) from None

    names = [host.name for host in processes.hosts(stack, service)]
    answers = fan_out(names, look)
    return {name: answers[name] for name in names}


def _reached(seen: Mapping[str, OnHost | HostFailed]) -> dict[str, OnHost]:
    return {name: one for name, one in seen.items() if not isinstance(one, HostFailed)}


def _texts(failed: Mapping[str, HostFailed]) -> dict[str, str]:
    return {name: str(error) for name, error in failed.items()}


def _source(stack: Stack, service: str) -> str:
    """Return the release that the source has now; "" if the source cannot be read, which a rollback does not need."""
    from plainstack.services import release

    try:
        return release.read(stack, service).id
    except InventoryError:
        return ""


def _nothing_to_do(console: Console, view: View, *, json: bool) -> int:
    if json:
        document({"changed": {}, "failed": _texts(view.failed)})
    for error in view.failed.values() if not json else ():
        console.error(str(error))
    return int(bool(view.failed))


def _announce(console: Console, stack: Stack, service: str, seen: Mapping[str, OnHost], pin: Pinned) -> None:
    """Print, before a rollback starts, what it does and what it does not undo."""
    from plainstack.services import kinds, rollback

    running = dict.fromkeys(one.current for one in seen.values() if one.current != pin.release)
    console.line(f"{service}: from {' and '.join(running) or pin.release} to {pin.release}")
    if not kinds.of(stack.services[service]).migrate:
        console.line(f"what newer releases changed in the database stays: {pin.release} must work with it")
        return
    applied = rollback.migrations(seen, pin.release)
    which = f"these, which newer releases applied: {', '.join(applied)}" if applied else "the database as it is"
    console.line(f"migrations are not undone: {pin.release} must work with {which}")


def _after(service: str, pin: Pinned, pinned: Mapping[str, Pinned]) -> str:
    if not pinned:
        return f"{service} runs {pin.release}, which is also the content of its source"
    return (
        f"{service} stays at {pin.release} until its source changes, or until inv deploy --again. Meanwhile, inv deploy"
        " deploys everything else"
    )


def after_failure(observer: Observer, stages: Iterable[str], console: Console) -> None:
    """Print, after some stages of a deploy failed, which hosts run which release if they differ, and what to do."""
    from plainstack.services import processes, rollback

    if not {*processes.ROLES} & {*stages}:
        return
    for service in observer.stack.services:
        seen = _reached(_look(observer.stack, observer.sessions, service))
        text = rollback.differing(service, seen)
        if text:
            console.error(f"{text}. {rollback.advice(service, seen)}")
