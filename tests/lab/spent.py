"""The commands and the CPU time that a process has spent on tests since they were last taken for the summary."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from plainstack.lab import cgroup


@dataclass
class Spent:
    """Commands as (words, seconds, CPU seconds of the lab's hosts in that time), and the CPU seconds of whole labs."""

    commands: list[tuple[str, float, float]] = field(default_factory=list)
    labs: float = 0.0
    before: float = 0.0

    @contextmanager
    def command(self, lab: str, words: str) -> Iterator[None]:
        """Record the `with` block as one command."""
        began, used = time.monotonic(), hosts(lab)
        try:
            yield
        finally:
            self.commands.append((words, time.monotonic() - began, max(hosts(lab) - used, 0.0)))

    def taken(self) -> list[tuple[str, object]]:
        """Return what was spent since the last call, as (name, value) properties of a test's report."""
        here = _here()
        found: list[tuple[str, object]] = [("command", each) for each in self.commands]
        found.append(("cpu", self.labs + here - self.before))
        self.commands, self.labs, self.before = [], 0.0, here
        return found


def hosts(lab: str) -> float:
    """Return the CPU seconds that a lab's hosts have used since the lab was started."""
    try:
        text = (cgroup.tree() / lab / "cpu.stat").read_text(encoding="utf-8")
    except OSError:
        # There is none, or it is being removed.
        return 0.0
    return int(text.split()[1]) / 1e6


def _here() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


SPENT = Spent()
