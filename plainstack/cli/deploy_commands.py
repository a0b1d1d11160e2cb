"""The commands behind `inv plan` and `inv deploy`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.changes import apply, failed_hosts, show_failed, show_plan
from plainstack.cli.command import CHANGES, document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.cli.selection import with_assets
from plainstack.deploy.head_start import HeadStart
from plainstack.errors import Refused
from plainstack.wording import counted

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer, View
    from plainstack.inventory.stack import Stack


def plan(
    inventory: str,
    role: str,
    host: str,
    *,
    json: bool,
    again: bool = False,
    no_build: bool = False,
    verbose: bool = False,
) -> None:
    """Run `inv plan`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True), HeadStart.of(Path(inventory), role, host) as head_start:
        stack = load(inventory)

        from plainstack.deploy import conclusions
        from plainstack.deploy.observe import Observer
        from plainstack.engine.desired import check
        from plainstack.engine.role import assigned
        from plainstack.engine.transition import notes
        from plainstack.inventory import load as inventories
        from plainstack.services.holds import unpinned
        from plainstack.services.wheels import unfetched

        registry = roles_of(stack)
        roles, hosts = inventories.select(stack, assigned(registry), role, host)
        hosts = hosts if host else with_assets(stack, roles, hosts)
        _build(console, stack, roles, hosts, left_out=no_build)
        check(stack, registry, roles, hosts, datetime.now(UTC))
        with Observer(stack, registry, roles, hosts, head_start) as observer:
            observer.change = unpinned if again else None
            view = observer.observe(console.progress())
            pending = view.pending
            refused = [
                *conclusions.held_back(observer, view),
                *conclusions.refusals(observer, view),
                *unfetched(view.pending, view.observed, stack.state / "wheels", console.progress().note),
            ]
            if json:
                from plainstack.cli.report import as_data

                data = {"changes": as_data(pending), "failed": failed_hosts(view.failed), "refused": refused}
                document(
                    {
                        **data,
                        "notes": [*notes(view.stack, observer.roles), *conclusions.findings(observer, view)],
                        "secrets": observer.secrets.unsaved,
                        "overrides": conclusions.overrides(observer),
                    }
                )
            else:
                show_plan(observer, view, console, verbose=verbose)
                for text in refused:
                    console.error(f"a deploy would be refused: {text}")
                show_failed(console, view.failed)
                if not pending and not view.failed:
                    console.line(f"nothing to do on {counted(len(view.plans), 'host')}")
                report_unsaved(console, observer)
    if view.failed or refused:
        raise Exit(code=1)
    if pending:
        raise Exit(code=CHANGES)


def _build(console: Console, stack: Stack, roles: Sequence[str], hosts: Sequence[str], *, left_out: bool) -> None:
    """Run the local builds that are due, or say that they are left out."""
    from plainstack.engine import desired
    from plainstack.services import local_build

    names = local_build.wanted(stack, hosts, desired.scope(roles_of(stack), roles))
    if not left_out:
        local_build.run(stack, names, console.line)
        return
    for name, why in local_build.due(stack, names):
        console.line(f"note: {name}: {stack.services[name].build.local} is left out ({why})")


def deploy(
    inventory: str,
    role: str,
    host: str,
    *,
    json: bool,
    new_secrets: bool = False,
    again: bool = False,
    no_build: bool = False,
    notify: bool = True,
    accept_outage: bool = False,
) -> None:
    """Run `inv deploy`."""
    began = time.monotonic()
    console = Console(json=json)
    with reporting(console, json=json), HeadStart.of(Path(inventory), role, host) as head_start:
        stack = load(inventory, notify=notify)

        # Imported after the inventory is loaded, so that errors in it are reported without the delay of these imports.
        from plainstack.deploy import conclusions
        from plainstack.deploy.observe import Observer
        from plainstack.engine.desired import check
        from plainstack.engine.role import assigned
        from plainstack.inventory import load as inventories
        from plainstack.services.holds import unpinned

        registry = roles_of(stack)
        roles, hosts = inventories.select(stack, assigned(registry), role, host)
        hosts = hosts if host else with_assets(stack, roles, hosts)
        _build(console, stack, roles, hosts, left_out=no_build)
        check(stack, registry, roles, hosts, datetime.now(UTC))
        with Observer(stack, registry, roles, hosts, head_start) as observer:
            observer.new_secrets = new_secrets
            observer.accept_outage = accept_outage
            observer.change = unpinned if again else None
            view = observer.observe(console.progress(), to_apply=True)
            for text in _still_pinned(observer, view) if again else ():
                console.line(f"note: {text}")
            if held_back := conclusions.held_back(observer, view):
                raise Refused("\n".join(held_back))
            if not view.pending:
                refused = conclusions.refusals(observer, view)
                if refused:
                    raise Refused("\n".join(refused))
                if view.plans:
                    observer.secrets.keep(console.line)
                seconds = time.monotonic() - began
                if json:
                    document({"changed": {}, "failed": failed_hosts(view.failed), "seconds": round(seconds, 2)})
                else:
                    show_failed(console, view.failed)
                    for text in conclusions.findings(observer, view):
                        console.line(f"note: {text}")
                    console.line(f"nothing to do on {counted(len(view.plans), 'host')} ({seconds:.1f} s)")
                code = int(bool(view.failed))
            else:
                stay = conclusions.left_as_is(observer)
                code = apply(observer, view, console, began, json=json, stay=stay)
    if code:
        raise Exit(code=code)


def _still_pinned(observer: Observer, view: View) -> list[str]:
    """Return what `--again` leaves on the hosts that it does not reach."""
    from plainstack.services import holds

    everywhere = holds.questions(observer.stack)
    left_out = {name: script for name, script in everywhere.items() if name not in observer.hosts}
    facts = {**dict.fromkeys(view.failed), **{name: seen.facts for name, seen in view.observed.items()}}
    return list(holds.still_pinned(observer.stack, {**facts, **observer.ask(left_out)}, list(view.plans)))


def report_unsaved(console: Console, observer: Observer) -> None:
    """Print which secrets a deploy needs and lacks; read-only commands never save them."""
    from plainstack.deploy.secret_values import not_set

    for name in observer.unset:
        console.line(not_set(name))
    for sentence in observer.secrets.unsaved:
        console.line(f"a deploy would {sentence}")
