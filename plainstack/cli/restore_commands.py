"""The command behind `inv restore`."""

from __future__ import annotations

import shlex
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.cli.restore_notice import Telling
from plainstack.cli.restore_report import afterwards, prospect, reporter
from plainstack.errors import Refused
from plainstack.wording import counted

if TYPE_CHECKING:
    from plainstack.deploy.check_result import CheckResult
    from plainstack.deploy.restore import Restoration
    from plainstack.inventory.stack import Stack
    from plainstack.postgresql.restore.moment import Moment
    from plainstack.postgresql.restore.situation import Request, Situation


def restore(
    inventory: str,
    *,
    at: str,
    before_xid: str,
    backup: str,
    undo: bool,
    discard: bool,
    despite_checks: bool,
    yes: bool,
    json: bool,
    notify: bool,
) -> None:
    """Run `inv restore`."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.deploy.restore import Restoration
        from plainstack.engine.network import Network
        from plainstack.postgresql.hosts import must_have_databases
        from plainstack.postgresql.restore.moment import typed

        given = bool(at or before_xid or backup)
        if undo + discard + given > 1:
            raise Refused("a moment (--at, --before-xid, --backup), --undo and --discard exclude one another")
        moment = typed(at, before_xid, backup) if given else None
        stack = load(inventory, notify=notify)
        must_have_databases(stack, "restore")
        command = shlex.join(["inv", *sys.argv[1:]])
        with Restoration(Network(stack, roles_of(stack)), command, reporter(console)) as restoration:
            run = _Run(console, stack, restoration, yes=yes, opens=despite_checks)
            result = run.discard() if discard else run.undo() if undo else run.restore(moment)
            if json:
                document(result | {"seconds": round(time.monotonic() - restoration.began, 2)})
    if result.get("failed_checks"):
        raise Exit(code=1)


class _Run:
    """One run of the command."""

    def __init__(self, console: Console, stack: Stack, restoration: Restoration, *, yes: bool, opens: bool) -> None:
        self.console = console
        self.stack = stack
        self.restoration = restoration
        self._yes = yes
        self._opens_despite_checks = opens

    def restore(self, moment: Moment | None) -> dict[str, Any]:
        from plainstack.postgresql.restore.decisions import continued

        now = self.restoration.observe()
        if moment is None and not now.unfinished:
            raise Refused(f"{_MOMENT}{self._reachable(now)}")
        request = continued(now, moment.key if moment else "")
        if request is None:
            assert moment
            request = self._wanted(now, moment)
            for line in prospect(now, request):
                self.console.line(line)
            self._consent("restore")
        else:
            self.console.line(f"continuing restore {request.id} of the database as it was {request.says}")
        self.restoration.lock()
        with self._told("restore", request.id):
            now = self.restoration.restore(request)
            failed = self._checks(now)
            opens = not failed or self._opens_despite_checks
            if opens:
                self.restoration.reopen()
        return self._end("restored", f"the database is as it was {request.says}", failed, opens)

    def undo(self) -> dict[str, Any]:
        from plainstack.postgresql.restore.undo import undone

        now = self.restoration.observe()
        request = undone(now)
        self.console.line(f"restore {request.id} ({request.says}) is being undone: the old data is put back")
        self.console.line(
            "what was written since the restore is removed from the database, but kept until inv restore --discard"
        )
        if request.finished or not now.unfinished:
            self._consent("undo")
        self.restoration.lock()
        with self._told("restore undone", request.id):
            now = self.restoration.undo()
            failed = self._checks(now)
            opens = not failed or self._opens_despite_checks
            if opens:
                self.restoration.reopen()
        return self._end("undone", f"the database is as it was before restore {request.id}", failed, opens)

    def discard(self) -> dict[str, Any]:
        now = self.restoration.observe()
        from plainstack.postgresql.restore.folder_steps import aside

        paths = [f"{host}: {kept.path}" for host, found in now.kept.items() for kept in found]
        paths += [f"{host}: {key} ({name})" for host, key, name in aside(now, now.restores)]
        if not paths:
            self.console.line("nothing to do: no db host keeps data from before a restore", "bold green")
            return {"discarded": []}
        for path in paths:
            self.console.line(path)
        self._consent("delete them")
        self.restoration.lock()
        self.restoration.discard()
        self.console.line("deleted. That restore can no longer be undone", "bold green")
        return {"discarded": paths}

    def _wanted(self, now: Situation, moment: Moment) -> Request:
        from plainstack.cli.restore_files_command import files_with
        from plainstack.postgresql.backup.clock import skewed
        from plainstack.postgresql.restore.moment import base_of
        from plainstack.postgresql.restore.situation import Request
        from plainstack.services.maintenance import closable

        primaries = now.topology.primaries
        began = datetime.now(UTC)
        held = self.restoration.catalogue()
        if warning := skewed(held.clock_skew):
            self.console.line(f"{now.backup}: {warning}", "yellow")
        source = base_of(held, moment, began, running=len(primaries) == 1)
        if source.says:
            self.console.line(f"{now.backup}: {source.says}", "yellow")
        leading = primaries or now.reached
        if not leading:
            raise Refused(f"no db host answers ({', '.join(now.topology.nodes)}), so there is none to restore to")
        leader = max(leading, key=lambda node: node.timeline).name
        until = None if moment.before_xid else moment.at or source.backup.end
        shut = frozenset[str]().union(*(here or () for here in now.closed.values()))
        return Request(
            id=began.strftime("%Y%m%dT%H%M%S"),
            moment=moment.key,
            says=moment.says,
            target=moment.words(source, or_end=not primaries),
            leader=leader,
            before=leader if primaries else "",
            closed=tuple(name for name in closable(self.stack) if name not in shut),
            files=tuple(files_with(self.console, self.restoration, now, until)),
        )

    def _reachable(self, now: Situation) -> str:
        from plainstack.postgresql.backup.recoverable import windows

        if not now.reachable:
            return ""
        found = windows(self.restoration.catalogue())
        shown = ", and ".join(f"from {begin:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC" for begin, end in found)
        return f". The backups and their WAL reach {shown}" if shown else ". There is no backup yet: inv backup-now"

    def _consent(self, what: str) -> None:
        if self._yes:
            return
        answer = self.console.ask(f"to {what}, type the name of the stack: ")
        if answer != self.stack.stack.lower():
            raise Refused(f"nothing was done. Type {self.stack.stack}, or use --yes to skip this question")

    def _checks(self, now: Situation) -> list[CheckResult]:
        """Run the checks of the database and its backups on the hosts that answer; return those that failed."""
        from plainstack.cli.checks import run_checks
        from plainstack.deploy.observe import Observer
        from plainstack.postgresql.restore.situation import CHECKED

        if len(now.topology.primaries) != 1:
            return []
        hosts = tuple(name for name in self.stack.hosts if name not in self.restoration.away)
        with Observer(self.stack, roles_of(self.stack), CHECKED, hosts, needs_values=False) as observer:
            _, results = run_checks(self.console, observer, CHECKED, hosts)
        return [one for one in results if not one.passed]

    def _told(self, action: str, restore: str) -> Telling:
        return Telling(self.console, self.stack, self.restoration, action, restore)

    def _end(self, done: str, says: str, failed: list[CheckResult], opened: bool) -> dict[str, Any]:
        now = self.restoration.observe()
        seconds = time.monotonic() - self.restoration.began
        count = counted(len(failed), "check")
        if failed and opened:
            self.console.error(f"{count} failed, but the site is open: inv verify")
        elif failed:
            self.console.error(
                f"{count} failed, so the site stays closed. Fix what they report and run the same"
                f" command again, which opens it. To open it anyway, add --despite-checks; to go back: inv restore"
                f" --undo"
            )
        if opened:
            self.console.line(f"{done}: {says} ({seconds:.1f} s)", "bold green")
            for line in afterwards(now, done):
                self.console.line(line)
        for host, why in self.restoration.away.items():
            self.console.line(f"{host}: {why}", "yellow")
        return {
            done: says,
            "primary": [node.name for node in now.topology.primaries],
            "failed_checks": [f"{one.host}: {one.promise}" for one in failed],
            "kept": {host: [one.path for one in found] for host, found in now.kept.items() if found},
            "steps": [
                {"host": one.step.host, "says": one.step.says, "begin": one.begin, "end": one.end, "error": one.error}
                for one in self.restoration.log
            ],
        }


_MOMENT = 'name the moment to go back to: --at="2026-11-21 14:03:00+00", --before-xid=N or --backup=ID'
