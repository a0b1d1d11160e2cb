"""Copy one table or database from a backup into the live cluster, over SSH."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from plainstack.dataclass import dataclass
from plainstack.errors import HostFailed, Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql import topology
from plainstack.postgresql.backup import catalogue
from plainstack.postgresql.backup.barman import backup_host
from plainstack.postgresql.hosts import databases
from plainstack.postgresql.restore import one_table, scratch
from plainstack.postgresql.restore.one_table import Database, Table
from plainstack.ssh.connections import Sessions, fan_out

# Seconds. The time to recover and to copy depends on the size of the database.
_LONGEST = 24 * 3600
_SOON = 120
# What psql writes before the message of an error.
_PREFIX = re.compile(r"^(psql:\S+ )?(ERROR: +)?")


@dataclass(frozen=True)
class Copied:
    """What was restored; `rows` is None for a database. `left_out` names foreign keys, triggers and the like."""

    primary: str
    rows: int | None
    left_out: tuple[str, ...]
    reached: str


class OneTable:
    """Restores one table or database; use it in a `with` statement. `say` is called with lines of progress."""

    def __init__(self, stack: Stack, wanted: Table | Database, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._wanted = wanted
        self._say = say
        self._sessions = Sessions(stack)
        self._backup_host = backup_host(stack)
        self.primary = ""

    def __enter__(self) -> OneTable:
        self._sessions.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._sessions.__exit__(*details)

    def catalogue(self) -> catalogue.Catalogue:
        """Return the backups and WAL that the backup host has. Raises HostFailed."""
        return catalogue.parse(self._run(self._backup_host, catalogue.script(self._stack), "catalogue"))

    def check(self) -> None:
        """Find the primary. Raises Refused if there is none, or if the name of the copy is taken there."""
        names = databases(self._stack)
        answers = fan_out(names, lambda name: self._sessions.to(name).script(topology.PROBE, step="probe").out)
        lines = {name: out.split("\n") for name, out in answers.items() if not isinstance(out, HostFailed)}
        facts = {name: dict(line.split("=", 1) for line in found if "=" in line) for name, found in lines.items()}
        leading = topology.primaries(topology.members(facts, facts))
        if len(leading) != 1:
            seen = ", ".join(member.label for member in topology.members(names, {**dict.fromkeys(names), **facts}))
            raise Refused(f"there must be exactly one primary to restore into ({seen})")
        self.primary = leading[0].name
        taken = self._run(self.primary, one_table.exists_script(self._wanted), "look").strip()
        if taken == "no schema":
            raise Refused(
                f"{self._wanted.becomes}: there is no such schema on {self.primary}. Create it, or name another"
            )
        if taken not in ("f", "false"):
            raise Refused(f"{self._wanted.becomes} already exists on {self.primary}. Choose another name with --into")

    def restore(self, source: str, options: tuple[str, ...]) -> Copied:
        """Recover the backup `source` to the moment that `options` name, and copy what is wanted. Raises HostFailed."""
        here = self._backup_host
        try:
            printed = self._run(here, one_table.start_script(source, options), "recover", progress=True)
            recovered = scratch.parse(printed)
            found = one_table.prepared(self._run(here, one_table.prepare_script(self._wanted), "rename"))
            self._say(
                f"{self.primary}: copying {self._wanted.says}, {found.size // 2**20} MB, as {self._wanted.becomes}"
            )
            script = one_table.copy_script(self._wanted, here, found.size)
            rows = self._run(self.primary, script, "copy").strip()
        finally:
            self._sessions.to(here).script(scratch.stop_script(one_table.SCRATCH), timeout=_SOON, step="clean up")
        return Copied(self.primary, int(rows) if rows.isdigit() else None, found.left_out, recovered.reached)

    def _run(self, host: str, script: str, step: str, *, progress: bool = False) -> str:
        def show(line: str) -> None:
            if progress and line and not line.startswith("{"):
                self._say(f"{host}: {line}")

        done = self._sessions.to(host).run(f"sh -c {shlex.quote(script)}", on_line=show, timeout=_LONGEST, step=step)
        if done.code != 0:
            first, *rest = done.err.strip().splitlines() or ["it failed without an error message"]
            raise HostFailed(host, step, _PREFIX.sub("", first), rest[-8:], done.code)
        return done.out
