"""The command behind `inv restore --table` and `inv restore --database`."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.errors import Refused
from plainstack.wording import counted


def restore_one(
    inventory: str, moment: tuple[str, str, str], what: tuple[str, str, str], *, alone: bool, json: bool
) -> None:
    """Run `inv restore` for one table or database.

    `moment` has the options --at, --before-xid and --backup; `what` has --table, --database and --into. `alone` is
    false if options were given that only make sense for a whole restore.
    """
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.deploy.restore_one import OneTable
        from plainstack.postgresql.hosts import must_have_databases
        from plainstack.postgresql.restore.moment import base_of, typed
        from plainstack.postgresql.restore.one_table import chosen
        from plainstack.postgresql.settings import Database

        if not alone:
            raise Refused("--undo and --discard concern a restore of everything; leave --table and --database out")
        wanted = typed(*moment)
        began = time.monotonic()
        stack = load(inventory)
        must_have_databases(stack, "restore")
        copy = chosen(stack.settings(Database).name, *what)

        def say(line: str) -> None:
            if not json:
                console.line(line)

        with OneTable(stack, copy, say) as work:
            work.check()
            source = base_of(work.catalogue(), wanted, datetime.now(UTC), running=True)
            if source.says:
                say(f"note: {source.says}")
            done = work.restore(source.backup.id, wanted.words(source, or_end=True)[1:])
        seconds = time.monotonic() - began
        if json:
            document(
                {
                    "restored": copy.says,
                    "as": copy.becomes,
                    "backup": source.backup.id,
                    "primary": done.primary,
                    "rows": done.rows,
                    "left_out": list(done.left_out),
                    "reached": done.reached,
                    "seconds": round(seconds, 2),
                }
            )
        else:
            rows = "" if done.rows is None else f", {counted(done.rows, 'row')}"
            console.line(
                f"{copy.says} as it was {wanted.says} is now {copy.becomes}{rows} ({seconds:.1f} s)", "bold green"
            )
            if done.left_out:
                console.line(f"note: left out: {', '.join(done.left_out)}", "yellow")
