"""The commands behind `inv backup-now` and `inv backups`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.errors import HostFailed, Refused
from plainstack.wording import size

if TYPE_CHECKING:
    from plainstack.inventory.stack import Stack
    from plainstack.postgresql.backup.progress import Progress
    from plainstack.ssh.session import Session


_LOOK_EVERY = 1.0


def backup_now(inventory: str, kind: str, *, json: bool) -> None:
    """Run `inv backup-now`."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.cli import folder_commands
        from plainstack.postgresql.backup import catalogue, failures, taking
        from plainstack.postgresql.backup.barman import backup_host
        from plainstack.postgresql.topology import TABLESPACES
        from plainstack.ssh.connections import Sessions

        stack = load(inventory)
        name = backup_host(stack)
        console.line(f"{name}: taking {'an' if kind == 'incremental' else 'a'} {kind} backup")
        with Sessions(stack) as sessions:
            session = sessions.to(name)
            before = catalogue.parse(session.script(catalogue.script(stack), step="catalogue").out)
            begun = session.script(taking.begin_script(stack, kind), step="backup")
            if begun.code in (taking.BUSY, taking.NO_BASE):
                raise Refused(f"{name}: {begun.err.strip()}")
            if begun.code != 0:
                raise HostFailed(name, "backup", "it could not be started", begun.err.splitlines()[-3:], begun.code)
            total = int(begun.out.strip() or 0) if kind == "full" else 0
            newest = before.backups[-1].id if before.backups else ""
            ended = _await(console, session, stack, kind, newest, total)
            if not ended.succeeded:
                said = session.script(taking.explain_script(stack, kind), timeout=90, step="explain")
                failure = failures.parse(said.out)
                why = failures.reasons(failure, total) or ["see: inv logs plainstack-backup"]
                raise HostFailed(
                    name, "backup", f"no usable backup was taken: {'; '.join(why)}", failures.last_words(failure)
                )
            found = catalogue.parse(session.script(catalogue.script(stack), step="catalogue").out)
            kept = folder_commands.take(console, session, stack)
        taken = found.by_id.get(ended.id)
        if taken is None:
            raise HostFailed(name, "backup", f"backup {ended.id} has ended, but is not in the catalogue")
        if json:
            document(
                taken.as_data() | {"files": [one.as_data() for one in kept.taken], "problems": list(kept.problems)}
            )
        else:
            about = f"{taken.kind}, based on {taken.parent}" if taken.parent else taken.kind
            took = f"{size(taken.size or 0)} in {taken.seconds or 0:.1f} s"
            console.line(f"backup {taken.id} is usable: {about}, {took}", "bold green")
            if taken.tablespaces:
                console.line(f"note: {TABLESPACES}", "yellow")
            folder_commands.show(console, name, kept)
    if kept.problems:
        raise Exit(code=1)


def _await(console: Console, session: Session, stack: Stack, kind: str, before: str, total: int) -> Progress:
    """Show the progress of a running backup until it has ended, and return its last state."""
    from plainstack.postgresql.backup import progress, taking

    shown: object = None
    with console.progress() as listener:
        try:
            while True:
                looked = session.script(taking.look_script(stack, kind), timeout=120, step="progress")
                now = progress.parse(looked.out, before, total)
                if now.ended:
                    return now
                if console.live:
                    listener.step(session.host, kind, now.sentence())
                elif now.milestone() != shown:
                    listener.note(f"{session.host}: {now.sentence()}")
                    shown = now.milestone()
                time.sleep(_LOOK_EVERY)
        except (KeyboardInterrupt, HostFailed):
            console.line(f"the backup continues on {session.host}: inv backups lists it once it is usable")
            raise


def backups(inventory: str, *, json: bool) -> None:
    """Run `inv backups`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.postgresql.backup import catalogue, folder_listing, folders, listing, second_copy_state
        from plainstack.postgresql.backup.barman import backup_host
        from plainstack.ssh.connections import Sessions

        stack, now = load(inventory), datetime.now(UTC)
        name = backup_host(stack)
        with Sessions(stack) as sessions:
            session = sessions.to(name)
            output = session.script(catalogue.script(stack, retention=True), timeout=120, step="catalogue")
            kept = folder_listing.parse(session.script(folders.list_script(stack), step="files").out)
            copied = second_copy_state.read(session.script(second_copy_state.facts(stack) or ":", step="copy").out)
        if output.code != 0:
            raise HostFailed(name, "catalogue", "it could not be read", output.err.splitlines()[-3:], output.code)
        found = catalogue.parse(output.out)
        if json:
            more = {
                "second_copy": copied.as_data() if copied else None,
                "files": [one.as_data() for one in kept.snapshots],
                "files_problems": list(folder_listing.problems(stack, kept, now)),
            }
            document({"host": name, **listing.as_data(found), **more})
        else:
            if found.backups:
                console.table(listing.HEADER, listing.rows(found, now))
            for sentence in listing.sentences(found):
                console.line(sentence)
            if where := second_copy_state.sentence(stack, copied, now):
                console.line(where)
            if kept.snapshots:
                console.table(folder_listing.HEADER, folder_listing.rows(kept, now))
            for text in (
                *second_copy_state.problems(stack, copied, now),
                *folder_listing.problems(stack, kept, now),
            ):
                console.error(f"{name}: {text}")
            for text in (*output.err.splitlines(), *listing.problems(found)):
                console.error(f"{name}: {text}")
    if listing.problems(found) or any(folder_listing.problems(stack, kept, now)):
        raise Exit(code=1)
