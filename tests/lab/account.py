"""A summary at the end of a run of the lab tests: where its time went."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.lab import labs

SLOWEST = 10
WORD = 40


class Account:
    """Adds up the times of every module's fixtures and tests, and records the operator's commands."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.cpu = _cpu()
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        # Per command: seconds, CPU seconds of the lab during the command, its words, and its test.
        self.commands: list[tuple[float, float, str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one phase of a test: setup, call or teardown."""
        module, _, test = report.nodeid.partition("::")
        self.seconds[Path(module).name][report.when or ""] += report.duration
        if report.when != "teardown":
            return
        # The teardown's report, the last one, holds the properties of all three phases.
        for key, value in report.user_properties:
            if key == "cpu" and isinstance(value, float):
                self.seconds[Path(module).name][key] += value
            if key == "command" and isinstance(value, list | tuple):
                words, seconds, cpu = value
                self.commands.append((seconds, cpu, words, f"{Path(module).stem}::{test}"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary."""
        if not self.seconds:
            return
        line = terminalreporter.write_line
        terminalreporter.section("where the time went, in seconds")
        line(f"{'module':<32}{'setup':>8}{'tests':>8}{'teardown':>10}{'CPU':>8}")
        for module, phases in sorted(self.seconds.items(), key=lambda item: -_whole(item[1])):
            parts = f"{phases['setup']:>8.0f}{phases['call']:>8.0f}{phases['teardown']:>10.0f}{phases['cpu']:>8.0f}"
            line(f"{module:<32}{parts}")
        line(f"{'the slowest commands':<{WORD}}{'took':>8}{'CPU':>8}  in (CPU: of the lab's hosts meanwhile)")
        for seconds, cpu, words, test in sorted(self.commands, reverse=True)[:SLOWEST]:
            line(f"{words[:WORD]:<{WORD}}{seconds:>8.1f}{cpu:>8.1f}  {test}")
        self._kinds(line)
        wall = time.monotonic() - self.began
        busy, all_of_it = (now - before for now, before in zip(_cpu(), self.cpu, strict=True))
        total = sum(_whole(phases) for phases in self.seconds.values())
        line(
            f"{wall:.0f} s of wall time for {total:.0f} s of work,"
            f" {sum(phases['cpu'] for phases in self.seconds.values()):.0f} s of it CPU of hosts and commands;"
            f" the {os.cpu_count()} cores were {100 * busy / max(all_of_it, 0.01):.0f} % busy, with whatever else ran"
        )
        made = labs.made_before()
        if "deploy" in made:
            when = "in this run" if labs.NEW else f"from commit {made['commit']}"
            line(
                f"the snapshot, made {when}: bare hosts up {made['lab_up']} s, deploy {made['deploy']} s"
                f" (the last apt ended after {made['apt']} s), save {made['save']} s"
            )

    def _kinds(self, line: Callable[[str], None]) -> None:
        """Print which commands use most of the hosts' CPU time, all tests together."""
        kinds: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for seconds, cpu, words, _ in self.commands:
            kinds[_kind(words)].append((seconds, cpu))
        line(f"{'all commands of a kind':<{WORD}}{'took':>8}{'CPU':>8}  times")
        for kind, spent in sorted(kinds.items(), key=lambda item: -sum(cpu for _, cpu in item[1]))[:SLOWEST]:
            seconds, cpu = (sum(column) for column in zip(*spent, strict=True))
            line(f"{kind:<{WORD}}{seconds:>8.0f}{cpu:>8.0f}  {len(spent)}")


def _kind(words: str) -> str:
    return " ".join(words.split()[:2]) if words.startswith(("inv ", "fab ")) else "commands on hosts"


def _whole(phases: Mapping[str, float]) -> float:
    return phases["setup"] + phases["call"] + phases["teardown"]


def _cpu() -> tuple[float, float]:
    """Return the busy and the total CPU seconds of all cores since the machine booted."""
    ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / hertz, sum(ticks) / hertz
