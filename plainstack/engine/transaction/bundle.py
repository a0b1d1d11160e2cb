"""The bundle of a transaction: the files that are copied to the host, and the lines of the script that uses them."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import field

from plainstack.dataclass import dataclass

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

    def tar(self) -> bytes:
        """Return the files as a tar stream, with the empty folders that the script uses."""
        # Imported here: every command imports this module, and few of them build a transaction.
        import tarfile

        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name in ("old", "keep"):
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode = tarfile.DIRTYPE, 0o700
                archive.addfile(folder)
            for name, content in self.files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), self.modes.get(name, 0o600)
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()
