"""The commands behind `inv verify`, `status`, `drift`, `log`, `trust` and `tunnel`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from plainstack.cli.command import CHANGES, document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.cli.deploy_commands import report_unsaved
from plainstack.deploy.head_start import HeadStart
from plainstack.errors import HostFailed, Refused
from plainstack.wording import counted


def verify(inventory: str, role: str, host: str, *, json: bool, serial: bool = False) -> None:
    """Run `inv verify`."""
    began = time.monotonic()
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.cli.checks import run_checks
        from plainstack.deploy.observe import Observer
        from plainstack.engine.role import assigned
        from plainstack.inventory import load as inventories
        from plainstack.services import holds, maintenance, stops
        from plainstack.ssh import lab_owner

        stack = load(inventory)
        registry = roles_of(stack)
        roles, hosts = inventories.select(stack, assigned(registry), role, host)
        if stack.in_lab:
            # Reported once, instead of once per check.
            lab_owner.require(stack)

        with Observer(stack, registry, roles, hosts, needs_values=False) as observer:
            report_unsaved(console, observer)
            held, results = run_checks(console, observer, roles, hosts, serial=serial)
            survey = maintenance.Survey.of(observer.ask(maintenance.questions(stack)))
        notes = [
            *dict.fromkeys(sentence for _, sentence in [*survey.notes(), *stops.sentences(held)]),
            *holds.sentences(held),
        ]
        failed = [result for result in results if not result.passed]
        seconds = time.monotonic() - began
        if json:
            checks = [result.__dict__ for result in results]
            document({"passed": not failed, "checks": checks, "notes": notes, "seconds": round(seconds, 2)})
        else:
            for note in notes:
                console.line(f"note: {note}", "yellow")
            checked = counted(len(results), "check")
            verdict = f"{len(failed)} of {checked} failed" if failed else f"{checked} passed"
            console.line(
                f"{verdict} on {counted(len(hosts), 'host')} in {seconds:.1f} s", "bold red" if failed else "bold green"
            )
        if not results:
            raise Refused("no check matches these roles and hosts. To see which host has which role: inv roles")
    if failed:
        raise Exit(code=1)


def trust(inventory: str, *, yes: bool) -> None:
    """Run `inv trust`."""
    console = Console()
    with reporting(console):
        from plainstack.ssh.pinning import pin, rounds

        stack = load(inventory)
        pinned = unchanged = 0
        failed = False
        for found in rounds(stack, console.line):
            failed = failed or bool(found.failed)
            for name, error in found.failed.items():
                console.error(f"{name}: {error}")
            for change in found.changes:
                console.line(change.described(), "bold red" if change.old else "")
            if found.changes and not yes and console.ask(f"pin {counted(len(found.changes), 'key')}? [y/N] ") != "y":
                raise Refused("not pinned. Answer y, or use --yes in a script")
            pin(stack, found.changes)
            pinned, unchanged = pinned + len(found.changes), unchanged + found.unchanged
        console.line(f"{counted(pinned, 'key')} pinned, {unchanged} already pinned")
    if failed:
        raise Exit(code=1)


def tunnel(inventory: str, to: str, host: str, port: str, *, show: bool) -> None:
    """Run `inv tunnel`."""
    console = Console()
    with reporting(console):
        import webbrowser

        from plainstack.deploy import pages
        from plainstack.ssh import tunnel
        from plainstack.ssh.connections import Sessions

        stack = load(inventory)
        named = tunnel.parse(stack, to, host, port)
        wanted = [named] if named else pages.targets(stack, roles_of(stack))
        closing = "" if named else pages.others(stack, roles_of(stack))
        with Sessions(stack) as sessions:
            tunnel.serve(sessions, wanted, console.line, closing, webbrowser.open if show else None)


def status(inventory: str, role: str, host: str, *, json: bool) -> None:
    """Run `inv status`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.deploy.observe import Observer
        from plainstack.deploy.status import notes, rows, table
        from plainstack.engine.role import assigned
        from plainstack.inventory import load as inventories

        stack = load(inventory)
        registry = roles_of(stack)
        roles, hosts = inventories.select(stack, assigned(registry), role, host)
        with Observer(stack, registry, roles, hosts, needs_values=False) as observer:
            view = observer.observe(console.progress())
            found: list[Any] = rows(observer.stack, observer.roles, view, time.time())
        if json:
            document([row.as_data() for row in found])
        else:
            console.table(*table(found))
            for text in notes(found):
                console.line(text)
            for row in found:
                for problem in row.problems:
                    console.error(f"{row.host}: {problem}")
        report_unsaved(console, observer)
    if any(row.problems for row in found):
        raise Exit(code=1)


def drift(inventory: str, role: str, host: str, *, json: bool) -> None:
    """Run `inv drift`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True), HeadStart.of(Path(inventory), role, host) as head_start:
        stack = load(inventory)

        from plainstack.deploy.observe import Observer
        from plainstack.engine.plan.drift import circumstances_script, find, with_circumstances
        from plainstack.engine.role import assigned
        from plainstack.inventory import load as inventories

        registry = roles_of(stack)
        roles, hosts = inventories.select(stack, assigned(registry), role, host)
        found = []
        with Observer(stack, registry, roles, hosts, head_start, needs_values=False) as observer:
            view = observer.observe(console.progress())
            for name, seen in view.observed.items():
                here = [one for one in find(name, observer.desired[name], seen) if not roles or one.role in roles]
                if here:
                    asked = observer.sessions.to(name).script(circumstances_script(here), step="ask when")
                    found += with_circumstances(here, asked.out)
        if json:
            failed = {name: str(error) for name, error in view.failed.items()}
            document({"drift": [one.as_data() for one in found], "failed": failed})
        else:
            for name in hosts:
                mine = [one for one in found if one.host == name]
                if mine:
                    console.line(name, "bold")
                for one in mine:
                    console.line(f"  {one.described()}", "yellow")
            for error in view.failed.values():
                console.error(str(error))
            if not found and not view.failed:
                console.line(f"nothing was changed outside Plainstack on {counted(len(hosts), 'host')}")
        report_unsaved(console, observer)
    if view.failed:
        raise Exit(code=1)
    if found:
        raise Exit(code=CHANGES)


def log(inventory: str, host: str, last: int, *, json: bool, verbose: bool = False) -> None:
    """Run `inv log`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.deploy import audit
        from plainstack.inventory import load as inventories
        from plainstack.ssh.connections import Sessions, fan_out

        stack = load(inventory)
        if last < 1:
            raise Refused(f"--last={last}: write how many of the last events to show, such as 20")
        _, hosts = inventories.select(stack, (), "", host)
        with Sessions(stack) as sessions:
            answers = fan_out(
                hosts, lambda name: audit.parse(name, sessions.to(name).script(audit.script(last), step="log").out)
            )
        failed = [answer for answer in answers.values() if isinstance(answer, HostFailed)]
        events = [event for answer in answers.values() if not isinstance(answer, HostFailed) for event in answer]
        events.sort(key=lambda event: event.at)
        if json:
            document([event.__dict__ for event in events])
        elif events:
            shown = events[-last:]
            console.table(
                audit.HEADER,
                [event.row() for event in shown],
                [event.details() if verbose else () for event in shown],
            )
        elif not failed:
            console.line("no deploy has changed these hosts yet")
        for error in failed:
            console.error(str(error))
    if failed:
        raise Exit(code=1)
