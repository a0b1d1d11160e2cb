"""The parts of `inv backup-now` and `inv restore-test` that concern the folders of services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plainstack.cli.console import Console
from plainstack.dataclass import dataclass
from plainstack.wording import counted, size

if TYPE_CHECKING:
    from plainstack.inventory.stack import Stack
    from plainstack.postgresql.backup.folder_listing import Snapshot
    from plainstack.ssh.session import Session

_LONGEST = 24 * 3600


@dataclass(frozen=True)
class Outcome:
    """The newest snapshot of each folder after a run, and the failures and findings of the run, as sentences."""

    taken: tuple[Snapshot, ...] = ()
    problems: tuple[str, ...] = ()
    says: str = ""


def take(console: Console, session: Session, stack: Stack) -> Outcome:
    """Take a snapshot of every folder, and wait for it."""
    from plainstack.postgresql.backup import folders

    return _run(console, session, stack, folders.UNIT, "fetching the files of", "the files are kept")


def test(console: Console, session: Session, stack: Stack) -> Outcome:
    """Compare the newest snapshot of every folder with its manifest."""
    from plainstack.postgresql.backup import folders

    return _run(console, session, stack, folders.TEST, "comparing the files of", "the files are as they were")


def show(console: Console, host: str, outcome: Outcome) -> None:
    """Print an outcome, unless no folder is kept."""
    failed = {one.of.says for one in outcome.taken if any(one.of.says in text for text in outcome.problems)}
    for one in outcome.taken:
        if one.of.says not in failed:
            about = f"{counted(one.files, 'file')}, {size(one.size)}"
            console.line(f"snapshot {one.id} of {one.of.says}: {outcome.says} ({about})", "bold green")
    for text in outcome.problems:
        console.error(f"{host}: {text}")


def _run(console: Console, session: Session, stack: Stack, unit: str, doing: str, says: str) -> Outcome:
    from plainstack.postgresql.backup import folder_listing, folders
    from plainstack.services.folders import kept

    wanted = kept(stack)
    if not wanted:
        return Outcome()
    console.line(f"{session.host}: {doing} {', '.join(one.says for one in wanted)}")
    output = session.script(folders.run_script(unit), timeout=_LONGEST, step="files")
    found = folder_listing.parse(output.out)
    problems = tuple(line for line in output.err.splitlines() if line.strip())
    newest = tuple(known[-1] for known in map(found.of, wanted) if known)
    return Outcome(newest, problems, says)
