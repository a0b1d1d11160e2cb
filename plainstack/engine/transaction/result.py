"""The output of a transaction, line by line: its steps, what failed, and the state it leaves the host in."""

from __future__ import annotations

from dataclasses import field

from plainstack.dataclass import dataclass

AFTERWARDS = {
    "untouched": "nothing was changed",
    "rolled-back": "all changes of this transaction were undone",
    "half-undone": "some changes of this transaction could not be undone. Fix what follows, then deploy again",
}
"""The state of a host after a failed transaction, by the word that the transaction prints for it."""


@dataclass
class Answer:
    """The output of a transaction so far."""

    step: str = ""
    tail: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed: str = ""
    code: int = 0
    outcome: str = ""
    unconfirmed: str = ""
    done: bool = False
    probe: list[str] = field(default_factory=list)

    def read(self, line: str) -> str | None:
        """Read one line of output; return the name of the step that it begins, or None."""
        tag, _, rest = line.partition("\t")
        if tag == "@step":
            self.step = rest
            return rest
        if tag == "@tail":
            self.tail.append(rest)
        elif tag == "@progress":
            self.progress.append(rest)
        elif tag == "@note":
            self.notes.append(rest)
        elif tag == "@warning":
            if rest.startswith("    ") and self.warnings:
                self.warnings[-1] += f"\n{rest}"
            else:
                self.warnings.append(rest)
        elif tag == "@failed":
            self.outcome, code, self.failed = rest.split("\t", 2)
            self.code = int(code)
        elif tag == "@unconfirmed":
            self.unconfirmed = rest
        elif tag == "@done":
            self.done = True
        elif self.done:
            self.probe.append(line)
        return None
