"""Test a backup on a db host, over SSH: the backup host recovers a cluster, the db host copies and checks it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from plainstack.errors import HostFailed, PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import catalogue
from plainstack.postgresql.backup.barman import backup_host
from plainstack.postgresql.observation import parse
from plainstack.postgresql.restore import elsewhere, scratch, testing
from plainstack.ssh.connections import Sessions

# Seconds. The time to recover and to copy depends on the size of the database.
_LONGEST = 12 * 3600
_SOON = 200


class Elsewhere:
    """Tests one backup on a db host. `say` is called with a host and a line of progress."""

    def __init__(self, stack: Stack, sessions: Sessions, host: str, say: Callable[[str, str], None]) -> None:
        self._stack = stack
        self._sessions = sessions
        self._host = host
        self._say = say
        self._backup_host = backup_host(stack)

    def check(self, held: catalogue.Catalogue, backup: str) -> None:
        """Raise Refused if the host has no room for the backup or no PostgreSQL, before anything is restored."""
        facts = parse(self._sessions.to(self._host).script(elsewhere.LOOK, step="look").out)
        elsewhere.refuse(self._host, facts, elsewhere.restored_size(held, backup))

    def test(self, wanted: Sequence[str]) -> testing.Result:
        """Return the result, which the backup host keeps. Nothing else stays, however this ends. Raises HostFailed."""
        try:
            lent = testing.parse(self._run(self._backup_host, elsewhere.lend_script(wanted), "restore test"))
            if not lent.data.get("lent"):
                # The backup host found damage, and has kept that result.
                return lent
            found = self._checked(lent.data)
            complete = elsewhere.completed(lent.data, self._host, found)
            result = testing.parse(testing.printed(complete))
            self._run(self._backup_host, elsewhere.keep_script(result.backup), "keep", testing.printed(complete))
            return result
        finally:
            self._clean_up()

    def _checked(self, lent: dict[str, Any]) -> elsewhere.Checked:
        lines: list[str] = []
        script = elsewhere.check_script(self._backup_host, int(lent["size_bytes"]))
        text = self._run(self._host, script, "restore test", elsewhere.program(lent), lines)
        try:
            return elsewhere.checked(text, lines)
        except (KeyError, TypeError, ValueError, IndexError):
            raise PlainstackError(f"{self._host}: not the result of a restore test: {text[:200]!r}") from None

    def _clean_up(self) -> None:
        """End what may still run. Both hosts do so by themselves, but later, if they cannot be reached now."""
        for host, script in ((self._host, elsewhere.STOP), (self._backup_host, scratch.stop_script(elsewhere.LENT))):
            try:
                self._sessions.to(host).script(script, timeout=_SOON, step="clean up")
            except HostFailed as error:
                self._say(host, f"not cleaned up yet: {error}")

    def _run(self, host: str, script: str, step: str, given: bytes | str = b"", seen: list[str] | None = None) -> str:
        """Return the last line that is JSON; raise HostFailed if the script fails."""
        results = [""]

        def show(line: str) -> None:
            if seen is not None:
                seen.append(line)
            if testing.is_result(line):
                results.append(line)
            elif line:
                self._say(host, line.removeprefix("progress: "))

        stdin = given.encode() if isinstance(given, str) else given
        command = f"sh -c {shlex.quote(script)}"
        done = self._sessions.to(host).run(command, stdin=stdin, on_line=show, timeout=_LONGEST, step=step)
        if done.code != 0:
            first, *rest = done.err.strip().splitlines() or ["it failed without an error message"]
            raise HostFailed(host, step, first, rest[-12:], done.code)
        return results[-1]
