"""The command behind `inv restore-test`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.errors import HostFailed

if TYPE_CHECKING:
    from plainstack.postgresql.restore.testing import Result
    from plainstack.ssh.session import Session

_LONGEST = 12 * 3600


def restore_test(inventory: str, chosen: str, at: str, host: str, *, from_copy: bool, json: bool) -> None:
    """Run `inv restore-test`; `chosen` is the id of a backup, or latest, and `host` a db host or empty."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.cli import folder_commands
        from plainstack.postgresql.backup import catalogue, clock, second_copy
        from plainstack.postgresql.backup.barman import backup_host
        from plainstack.postgresql.observation import parse
        from plainstack.postgresql.restore import elsewhere, testing
        from plainstack.postgresql.restore.moment import Moment, base_of, typed
        from plainstack.ssh.connections import Sessions

        until = typed(at, "", "").at if at else None
        stack = load(inventory)
        name = backup_host(stack)
        if from_copy:
            second_copy.required(stack)
        if host and host != name:
            elsewhere.must_be_suitable(stack, host, from_copy=from_copy)

        def say(where: str, line: str) -> None:
            if not json:
                console.line(f"{where}: {line}")

        with Sessions(stack) as sessions:
            facts = parse(sessions.to(name).script(clock.FACTS, step="clock").out)
            here = sessions.to(name)
            held = catalogue.parse(here.script(catalogue.script(stack), step="catalogue").out)
            timeline = 0
            if until and not from_copy:
                moment = Moment(until, 0, "" if chosen == "latest" else chosen)
                start = base_of(held, moment, datetime.now(UTC), running=True)
                chosen, timeline = start.id, start.timeline
                if start.says:
                    say(name, start.says)
            wanted = testing.options(chosen, until, timeline)
            if host and host != name:
                from plainstack.deploy.restore_test import Elsewhere

                work = Elsewhere(stack, sessions, host, say)
                work.check(held, chosen)
                result = work.test(wanted)
            else:
                result = _here(here, testing.script(wanted, from_copy=from_copy), say)
            tested = folder_commands.test(console, here, stack)
        if json:
            files = [one.as_data() for one in tested.taken]
            document(result.data | {"files": files, "files_problems": list(tested.problems)})
        else:
            for sentence in result.sentences():
                console.line(sentence, "bold green" if result.passed else "bold")
            warning = clock.skewed(float(facts.get("clock_skew") or 0))
            for note in (*result.notes, *([warning] if warning else [])):
                console.line(f"note: {note}", "yellow")
            for problem in result.problems:
                console.error(f"{result.data.get('host') or name}: {problem}")
            folder_commands.show(console, name, tested)
    if not result.passed or tested.problems:
        raise Exit(code=1)


def _here(session: Session, script: str, say: Callable[[str, str], None]) -> Result:
    """Test on the backup host; return the result. Raises HostFailed if there is none."""
    from plainstack.postgresql.restore import testing

    results: list[str] = []

    def show(line: str) -> None:
        if testing.is_result(line):
            results.append(line)
        elif line:
            say(session.host, line)

    output = session.run(f"sh -c {shlex.quote(script)}", on_line=show, timeout=_LONGEST, step="restore test")
    if not results:
        first, *rest = output.err.splitlines() or ["it ended without a result"]
        raise HostFailed(session.host, "restore test", first, rest[-12:], output.code)
    return testing.parse(results[-1])
