"""The bundle of a transaction: the files that are copied to the host, and the lines of the script that uses them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Members = Sequence[tuple[str, bytes]]


@dataclass
class Bundle:
    """Files to copy to the host, and the script lines that use them.

    `payloads` are the payloads of commands, by command name.
    """

    role: str = ""
    payloads: Mapping[str, Members] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def step(self, name: str, *words: str) -> None:
        """Add a named step; tests interrupt runs between steps."""
        self.lines.append(" ".join(["step", shlex.quote(name), *(shlex.quote(word) for word in words)]))

    def file(self, name: str, content: str | bytes, mode: int = 0o600) -> str:
        self.files[name] = content if isinstance(content, bytes) else content.encode()
        self.modes[name] = mode
        return name
