"""Where the time of a run of the lab tests went, as the run itself tells it at its end."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tests.lab import labs


class Account:
    """Adds up what every module's fixtures and tests took."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.cpu = _cpu()
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a phase of a test."""
        self.seconds[Path(report.nodeid.partition("::")[0]).name][report.when or ""] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the account."""
        if not self.seconds:
            return
        line = terminalreporter.write_line
        terminalreporter.section("where the time went, in seconds")
        line(f"{'module':<32}{'setup':>8}{'tests':>8}{'teardown':>10}")
        for module, phases in sorted(self.seconds.items(), key=lambda item: -sum(item[1].values())):
            line(f"{module:<32}{phases['setup']:>8.0f}{phases['call']:>8.0f}{phases['teardown']:>10.0f}")
        wall = time.monotonic() - self.began
        busy, all_of_it = (now - before for now, before in zip(_cpu(), self.cpu, strict=True))
        total = sum(sum(phases.values()) for phases in self.seconds.values())
        line(
            f"{wall:.0f} s of wall time for {total:.0f} s of work;"
            f" the {os.cpu_count()} cores were {100 * busy / max(all_of_it, 0.01):.0f} % busy, with whatever else ran"
        )
        made = labs.made_before()
        if "deploy" in made:
            when = "in this run" if labs.NEW else f"from commit {made['commit']}"
            line(
                f"the snapshot, made {when}: bare hosts up {made['lab_up']} s, deploy {made['deploy']} s"
                f" (the last apt ended after {made['apt']} s), save {made['save']} s"
            )


def _cpu() -> tuple[float, float]:
    """Seconds of all cores that they were busy, and in all, since the machine booted."""
    ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / hertz, sum(ticks) / hertz
