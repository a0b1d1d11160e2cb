"""Testinfra's host over Plainstack's open sessions."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from plainstack.ssh.connections import Sessions
from plainstack.wording import shortened

LONGEST = 120
# The most commands to run on one host at once, for its own checks and those of other hosts. Its sshd accepts 30
# (MaxSessions).
COMMANDS = 20


class Backend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """Runs Testinfra's commands as root over Plainstack's open sessions."""

    NAME = "plainstack"

    def __init__(self, sessions: Sessions, name: str) -> None:
        super().__init__(name)
        self._sessions = sessions
        self._name = name
        self._turn = BoundedSemaphore(COMMANDS)

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        line = self.get_command(command, *args)
        with self._turn:
            output = self._sessions.to(self._name).script(line, timeout=LONGEST, step="check")
        return self.result(output.code, self.encode(line), output.out.encode(), output.err.encode())


class CheckedHost(Host):  # type: ignore[misc]  # testinfra has no types
    """A host whose failed commands are reported in words."""

    def __init__(self, backend: Backend, name: str) -> None:
        super().__init__(backend)
        self._name = name

    def check_output(self, command: str, *args: str, **options: Any) -> str:
        """Return what a command prints, without the last newline; a command that fails fails the check."""
        done = self.run(command, *args, **options)
        if done.rc != 0:
            line = shortened(self.backend.get_command(command, *args))
            said = (done.stderr or done.stdout).strip()
            raise AssertionError(
                f"{self._name}: `{line}` ended with exit code {done.rc}: {said or 'it printed nothing'}"
            )
        return str(done.stdout.rstrip("\r\n"))
