"""The commands behind `inv plan` and `inv deploy`, and what all commands share: errors, JSON output, exit codes.

Exit codes: 0 success, 1 an error or a failed host, 2 `inv plan` or `inv drift` found differences, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json as json_module
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from invoke.exceptions import Exit

from plainstack.cli.console import Console
from plainstack.cli.streams import output_lost
from plainstack.deploy.head_start import HeadStart
from plainstack.errors import HostFailed, PlainstackError, Refused

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer
    from plainstack.engine.plan.actions import HostPlan
    from plainstack.engine.role import Role
    from plainstack.inventory.stack import Stack

CHANGES = 2
INTERRUPTED = 130


@contextlib.contextmanager
def reporting(console: Console, *, json: bool = False, shows: bool = False) -> Iterator[None]:
    """Turn expected errors into a message and an exit code.

    Raises Exit with code 1 after a PlainstackError or OSError, and with INTERRUPTED after Ctrl-C. A command that only
    `shows` something also fails if its output could not be written.
    """
    try:
        yield
    except PlainstackError as error:
        _told_error(console, str(error), json=json)
    except OSError as error:
        # An error on this machine, such as a full disk or a read-only folder.
        where = f"{error.filename}: " if error.filename else ""
        _told_error(console, f"{where}{error.strerror or error}", json=json)
    except KeyboardInterrupt:
        console.error("interrupted; run the same command again to continue")
        raise Exit(code=INTERRUPTED) from None
    if shows and output_lost():
        raise Exit(code=1)


def _told_error(console: Console, text: str, *, json: bool) -> NoReturn:
    if json:
        document({"error": text})
    else:
        console.error(text)
    raise Exit(code=1) from None


def document(data: object) -> None:
    """Print the JSON document of a --json run on stdout."""
    json_module.dump(data, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def load(path: str, *, notify: bool = True) -> Stack:
    """Load an inventory with the roles in its folder; raises InventoryError.

    Without `notify`, no notification is sent.
    """
    from plainstack.engine import declared
    from plainstack.engine.role import shape
    from plainstack.inventory import load as inventories
    from plainstack.roles import registry

    roles = registry(Path(path).resolve().parent)
    stack = inventories.load(Path(path), shape(roles))
    declared.check(stack, roles)
    return stack if notify else stack.model_copy(update={"notify": type(stack.notify)()})


def roles_of(stack: Stack) -> Mapping[str, Role]:
    """Return all roles of a stack by name: the built-in ones and those in its folder."""
    from plainstack.roles import registry

    return registry(stack.folder)


def plan(inventory: str, role: str, host: str, *, json: bool, no_build: bool = False) -> None:
    """Run `inv plan`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True), HeadStart.of(Path(inventory), role, host) as head_start:
        stack = load(inventory)

        from plainstack.deploy.observe import Observer
        from plainstack.engine.desired import check
        from plainstack.engine.role import assigned
        from plainstack.engine.transition import notes
        from plainstack.inventory import load as inventories
        from plainstack.services.wheels import unfetched

        registry = roles_of(stack)
        roles, hosts = inventories.select(stack, assigned(registry), role, host)
        _build(console, stack, roles, hosts, left_out=no_build)
        check(stack, registry, roles, hosts, datetime.now(UTC))
        with Observer(stack, registry, roles, hosts, head_start) as observer:
            view = observer.observe(console.progress())
            pending = view.pending
            refused = [
                *observer.held_back(),
                *observer.refusals(view),
                *unfetched(view.pending, view.observed, stack.state / "wheels", console.progress().note),
            ]
            if json:
                from plainstack.cli.report import as_data

                data = {"changes": as_data(pending), "failed": _failed(view.failed), "refused": refused}
                document(
                    {
                        **data,
                        "notes": [*notes(view.stack, observer.roles), *observer.findings(view)],
                        "secrets": observer.secrets.unsaved,
                        "overrides": observer.overrides(),
                    }
                )
            else:
                _show_plan(observer, view, console)
                for text in refused:
                    console.error(f"a deploy would be refused: {text}")
                _tell_failed(console, view.failed)
                if not pending and not view.failed:
                    console.line(f"nothing to do on {len(view.plans)} hosts")
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


def report_unsaved(console: Console, observer: Observer) -> None:
    """Print which secrets a deploy needs and lacks; read-only commands never save them."""
    from plainstack.deploy.secret_values import not_set

    for name in observer.unset:
        console.line(not_set(name))
    for sentence in observer.secrets.unsaved:
        console.line(f"a deploy would {sentence}")


def _failed(failed: Mapping[str, HostFailed]) -> dict[str, str]:
    return {name: str(error) for name, error in failed.items()}


def _tell_failed(console: Console, failed: Mapping[str, HostFailed]) -> None:
    for error in failed.values():
        console.error(str(error))


def _show_plan(observer: Any, view: Any, console: Console, *, shorten: bool = False) -> None:
    """Print the plan with diffs; read old content only from hosts with changed files.

    With `shorten`, the first deploy of a host is printed as counts.
    """
    from plainstack.cli.report import changed_files, fetch_script, parse_fetched, plan_lines
    from plainstack.engine.transition import notes
    from plainstack.ssh.connections import fan_out

    pending: Mapping[str, HostPlan] = view.pending
    new = frozenset(name for name in pending if shorten and not view.observed[name].manifest)
    paths = {name: changed_files(plan) for name, plan in pending.items() if name not in new}

    def fetch(name: str) -> dict[str, bytes]:
        return parse_fetched(observer.sessions.to(name).script(fetch_script(paths[name]), step="read for the diff").out)

    fetched = fan_out([name for name in paths if paths[name]], fetch)
    old = {name: content for name, content in fetched.items() if not isinstance(content, HostFailed)}
    console.plan(plan_lines(pending, old, observer.vault.everything(), new))
    for note in notes(view.stack, observer.roles):
        console.line(note)
    for name, path in observer.overrides().items():
        console.line(f"override: {name} from {path}")
    if pending:
        console.line()
    for text in observer.findings(view):
        console.line(f"note: {text}")


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
) -> None:
    """Run `inv deploy`."""
    began = time.monotonic()
    console = Console(json=json)
    with reporting(console, json=json), HeadStart.of(Path(inventory), role, host) as head_start:
        stack = load(inventory, notify=notify)

        # Imported after the inventory is loaded, so that errors in it are reported without the delay of these imports.
        from plainstack.deploy.observe import Observer
        from plainstack.engine.desired import check
        from plainstack.engine.role import assigned
        from plainstack.inventory import load as inventories
        from plainstack.services.holds import unpinned

        registry = roles_of(stack)
        roles, hosts = inventories.select(stack, assigned(registry), role, host)
        _build(console, stack, roles, hosts, left_out=no_build)
        check(stack, registry, roles, hosts, datetime.now(UTC))
        with Observer(stack, registry, roles, hosts, head_start) as observer:
            observer.new_secrets = new_secrets
            observer.change = unpinned if again else None
            view = observer.observe(console.progress(), to_apply=True)
            if held_back := observer.held_back():
                raise Refused("\n".join(held_back))
            if not view.pending:
                refused = observer.refusals(view)
                if refused:
                    raise Refused("\n".join(refused))
                if view.plans:
                    observer.secrets.keep(console.line)
                seconds = time.monotonic() - began
                if json:
                    document({"changed": {}, "failed": _failed(view.failed), "seconds": round(seconds, 2)})
                else:
                    _tell_failed(console, view.failed)
                    for text in observer.findings(view):
                        console.line(f"note: {text}")
                    console.line(f"nothing to do on {len(view.plans)} hosts ({seconds:.1f} s)")
                code = int(bool(view.failed))
            else:
                code = apply(observer, view, console, began, json=json)
    if code:
        raise Exit(code=code)


def apply(observer: Any, view: Any, console: Console, began: float, *, json: bool, action: str = "deploy") -> int:
    """Show the pending changes, apply them, report the result, and return the exit code.

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
        _show_plan(observer, view, console, shorten=console.live)
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
                "failed": _failed(failed),
                "warnings": warnings,
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
    hosts = len({outcome.node.host for outcome in outcomes})
    bad = len({outcome.node.host for outcome in outcomes if outcome.error or outcome.skipped} | set(failed))
    verdict = f"{bad} of {len(view.plans) + len(view.failed)} hosts failed" if problems else f"{hosts} hosts changed"
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
