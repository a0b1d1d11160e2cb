"""A transaction's own words, line by line: the step it is in, what failed, and what the host is afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

AFTERWARDS = {
    "untouched": "nothing was changed",
    "rolled-back": "what this transaction had changed was put back",
    "half-undone": "not all that it had changed could be put back: mend what is said below, then deploy again",
}
"""What a host is after a transaction that failed, by the word that the transaction has for it."""


@dataclass
class Answer:
    """What a transaction's output said so far."""

    step: str = ""
    tail: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""
    code: int = 0
    outcome: str = ""
    unconfirmed: str = ""
    done: bool = False
    probe: list[str] = field(default_factory=list)

    def read(self, line: str) -> str | None:
        """Take one line of output; returns a step's name when one begins."""
        tag, _, rest = line.partition("\t")
        if tag == "@step":
            self.step = rest
            return rest
        if tag == "@tail":
            self.tail.append(rest)
        elif tag == "@note":
            self.notes.append(rest)
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
