"""The command behind `inv restore --files`, and the files that go back with the database."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.errors import Refused

if TYPE_CHECKING:
    from plainstack.deploy.restore import Restoration
    from plainstack.postgresql.restore.situation import Files, Situation


def restore_files(
    inventory: str, names: str, at: str, *, undo: bool, discard: bool, alone: bool, yes: bool, json: bool
) -> None:
    """Run `inv restore --files`; `alone` is false if options were given that concern the database."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.deploy.restore_files import FilesRestore
        from plainstack.postgresql.backup.folder_listing import chosen
        from plainstack.postgresql.restore.moment import typed

        if not alone:
            raise Refused("--files goes with --at, --undo or --discard; leave the other options out")
        if undo + discard + bool(at) > 1:
            raise Refused("--at, --undo and --discard exclude one another")
        until = typed(at, "", "").at if at else None
        began = time.monotonic()
        stack = load(inventory)
        wanted = chosen(stack, names)
        says = ", ".join(one.says for one in wanted)

        def say(line: str) -> None:
            if not json:
                console.line(line)

        def consent(what: str) -> None:
            if yes:
                return
            if console.ask(f"to {what}, type the name of the stack: ") != stack.stack.lower():
                raise Refused(f"nothing was done. Type {stack.stack}, or use --yes to skip this question")

        result: dict[str, object]
        with FilesRestore(stack, shlex.join(["inv", *sys.argv[1:]]), say) as work:
            if discard:
                consent(f"delete what restores of {says} have replaced")
                work.lock(wanted)
                gone = work.discard(wanted)
                result, ended = {"discarded": gone}, "deleted" if gone else "nothing to do: nothing is kept"
            elif undo:
                consent(f"undo the last restore of {says}")
                work.lock(wanted)
                result, ended = {"undone": work.undo(wanted)}, f"{says}: the files are as they were before the restore"
            else:
                files = work.snapshots()
                sources = [files.newest(one, until) for one in wanted]
                for one in sources:
                    say(f"{one.of.says} goes back to snapshot {one.id}, complete at {one.end:%Y-%m-%d %H:%M:%S} UTC")
                say("the current files are kept on the host. To put them back: inv restore --files=... --undo")
                consent("restore")
                work.lock(wanted)
                work.restore(sources)
                result = {"restored": [one.as_data() for one in sources]}
                ended = f"{says}: the files are as they were in the snapshot"
        seconds = time.monotonic() - began
        if json:
            document(result | {"seconds": round(seconds, 2)})
        else:
            console.line(f"{ended} ({seconds:.1f} s)", "bold green")


def files_with(console: Console, restoration: Restoration, now: Situation, until: datetime | None) -> Iterator[Files]:
    """Yield the folders that go back to `until` with the database (None: not known), and report those that do not."""
    from plainstack.postgresql.backup.folder_listing import at_moment
    from plainstack.postgresql.restore.situation import Files
    from plainstack.services.folders import kept

    if not kept(restoration.stack):
        return
    if until is None:
        console.line("note: the files of services stay as they are. To restore them: inv restore --files", "yellow")
        return
    answering = [name for name, count in now.running.items() if count is not None]
    found, notes = at_moment(restoration.stack, restoration.snapshots(), until, answering)
    for note in notes:
        console.line(f"note: {note}", "yellow")
    for one in found:
        yield Files(one.of.service, one.of.folder, one.of.host, one.id, one.size)
