"""Testinfra's hosts over the sessions that Plainstack has open."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult

from plainstack.ssh.connections import Sessions

LONGEST = 120
# Commands that a host runs at once, its own checks' and those that look at others from it; sshd takes 30 (MaxSessions).
COMMANDS = 20


class Backend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """Testinfra's commands over the sessions that Plainstack has open, as root."""

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
