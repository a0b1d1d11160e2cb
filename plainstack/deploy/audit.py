"""The audit log on each host: every change by Plainstack, with its time, operator and commit."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

from plainstack.dataclass import dataclass
from plainstack.paths import AUDIT

HEADER = ("at", "who", "host", "role", "actions", "result")


@dataclass(frozen=True)
class Event:
    """An event in a host's audit log: a transaction, or a command that was started in a service's environment."""

    host: str
    at: str
    who: str
    commit: str
    role: str
    result: str
    command: str
    actions: tuple[str, ...]

    def row(self) -> tuple[str, ...]:
        """Return the event as a row of a table; see HEADER."""
        return self.at, self.who, self.host, self.role, str(len(self.actions)), self.result

    def details(self) -> list[str]:
        """Return the details that the row leaves out, as lines of text."""
        return [f"    from {self.commit}: {self.command}", *(f"    {action}" for action in self.actions)]


def script(last: int) -> str:
    """Return a script that prints the last `last` events of a host's audit log."""
    return f"tail -n {last} {AUDIT} 2>/dev/null || :\n"


def started(who: str, commit: str, command: str, role: str, actions: Sequence[str], result: str = "started") -> str:
    """Return a script that logs the start of a command. Plainstack does not see what the command changes.

    With another `result`, it logs that this is how the actions ended.
    """
    event = {"who": who, "commit": commit, "role": role, "result": result, "command": command, "actions": [*actions]}
    rest = shlex.quote(json.dumps(event).removeprefix("{"))
    return f"""mkdir -p "${{ROOT:-}}{AUDIT.rpartition("/")[0]}"
printf '{{"at": "%s", %s\\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" {rest} >>"${{ROOT:-}}{AUDIT}"\n"""


def parse(host: str, text: str) -> list[Event]:
    """Parse a host's audit log; skip incomplete lines, which a full disk can cause."""
    events = []
    for line in text.splitlines():
        try:
            data: Mapping[str, object] = json.loads(line)
        except json.JSONDecodeError:
            continue
        at, who, commit, role, result, command = (
            str(data.get(key, "-")) for key in ("at", "who", "commit", "role", "result", "command")
        )
        listed = data.get("actions")
        actions = tuple(str(action) for action in listed) if isinstance(listed, list) else ()
        events.append(Event(host, at, who, commit, role, result, command, actions))
    return events
