"""The command behind `inv restore-test`."""

from __future__ import annotations

import shlex

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.errors import HostFailed

_LONGEST = 12 * 3600


def restore_test(inventory: str, chosen: str, at: str, *, from_copy: bool, json: bool) -> None:
    """Run `inv restore-test`; `chosen` is the id of a backup, or latest."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.cli import folder_commands
        from plainstack.postgresql.backup import clock, second_copy
        from plainstack.postgresql.backup.barman import backup_host
        from plainstack.postgresql.observation import parse
        from plainstack.postgresql.restore import testing
        from plainstack.postgresql.restore.moment import typed
        from plainstack.ssh.connections import Sessions

        until = typed(at, "", "").at if at else None
        stack = load(inventory)
        name = backup_host(stack)
        if from_copy:
            second_copy.required(stack)
        results: list[str] = []

        def show(line: str) -> None:
            if testing.is_result(line):
                results.append(line)
            elif line and not json:
                console.line(f"{name}: {line}")

        with Sessions(stack) as sessions:
            command = f"sh -c {shlex.quote(testing.script(chosen, until, from_copy=from_copy))}"
            facts = parse(sessions.to(name).script(clock.FACTS, step="clock").out)
            output = sessions.to(name).run(command, on_line=show, timeout=_LONGEST, step="restore test")
            tested = folder_commands.test(console, sessions.to(name), stack)
        if not results:
            first, *rest = output.err.splitlines() or ["it ended without a result"]
            raise HostFailed(name, "restore test", first, rest[-12:], output.code)
        result = testing.parse(results[-1])
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
                console.error(f"{name}: {problem}")
            folder_commands.show(console, name, tested)
    if not result.passed or tested.problems:
        raise Exit(code=1)
