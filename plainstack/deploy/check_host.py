"""A Testinfra backend that uses Plainstack's open sessions."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult

from plainstack.ssh.connections import Sessions

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
