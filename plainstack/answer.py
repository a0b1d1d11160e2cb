"""A transaction's own words, line by line: the step it is in, what failed, and what the host is afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Answer:
    """What a transaction's output said so far."""

    step: str = ""
    tail: list[str] = field(default_factory=list)
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
