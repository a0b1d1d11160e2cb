"""Hosts with the real watchdog, run by a real sh with stand-ins for systemctl, curl, sleep and the clock.

The hosts advance one after another, a round of the watchdog each: its sleep waits until the test lets it go on.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from plainstack.shipped import FILES
from tests.waiting import PATIENCE

PROGRAM = FILES / "app/usr/local/lib/plainstack/watchdog"
INTERVAL, FAILURES, STARTUP = 10, 2, 30
SLEEP = """#!/bin/sh
echo asleep >&2
read -r go && [ "$go" = go ]
"""
CURL = """#!/bin/sh
for page; do :; done
read -r code answer <"$ROOT/pages/${page##*/}"
echo "$answer"
exit "$code"
"""
DATE = """#!/bin/sh
cut -d . -f 1 "$ROOT/proc/uptime"
"""
SYSTEMCTL = """#!/bin/sh
case "$*" in
*ActiveState*) cat "$ROOT/$HOST.state" ;;
*Timestamp*) echo "$(cat "$ROOT/$HOST.since")000000" ;;
restart*) echo "$HOST" >>"$ROOT/restarts" ;;
esac
"""
# curl's exit code and the status that a host answers; by its name, the time, and that of its last start.
Answers = Callable[[str, int, int], str]
HEALTHY, SICK, REFUSED, HUNG = "0 200", "0 500", "7 000", "28 000"


@dataclass
class Hosts:
    """Hosts in the order of the inventory, at a virtual time in seconds; `restarts` are the times of each host's."""

    root: Path
    names: Sequence[str]
    answers: Answers
    states: Mapping[str, str] = field(default_factory=dict)
    began: ClassVar[int] = 1000
    now: int = began
    since: dict[str, int] = field(default_factory=dict)
    restarts: list[tuple[str, int]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    def run(self, seconds: int) -> None:
        """Let the watchdogs check for so long."""
        with self._watchdogs() as watchdogs:
            for _ in range(seconds // INTERVAL):
                self.now += INTERVAL
                for each in watchdogs.values():
                    self._show()
                    assert each.stdin is not None
                    each.stdin.write("go\n")
                    each.stdin.flush()
                    _await_sleep(each)
                    self._count()

    def restarted(self, name: str) -> list[int]:
        """Return after how many seconds a host was restarted each time."""
        return [at - self.began for one, at in self.restarts if one == name]

    def _show(self) -> None:
        (self.root / "proc/uptime").write_text(f"{self.now}.00 1.00\n", encoding="ascii")
        for name in self.names:
            answer = self.answers(name, self.now, self.since[name])
            (self.root / f"pages/{name}").write_text(f"{answer}\n", encoding="ascii")
            (self.root / f"{name}.since").write_text(str(self.since[name]), encoding="ascii")
            (self.root / f"{name}.state").write_text(self.states.get(name, "active"), encoding="ascii")

    def _count(self) -> None:
        done = (self.root / "restarts").read_text(encoding="ascii").split()
        for name in done[len(self.restarts) :]:
            self.restarts.append((name, self.now))
            self.since[name] = self.now

    @contextmanager
    def _watchdogs(self) -> Iterator[dict[str, subprocess.Popen[str]]]:
        for folder in ("bin", "proc", "pages"):
            (self.root / folder).mkdir()
        for name, text in (("sleep", SLEEP), ("curl", CURL), ("systemctl", SYSTEMCTL), ("date", DATE)):
            (self.root / "bin" / name).write_text(text, encoding="ascii")
            (self.root / "bin" / name).chmod(0o755)
        (self.root / "restarts").touch()
        self.since = dict.fromkeys(self.names, 0)
        running = {name: self._start(name) for name in self.names}
        try:
            for each in running.values():
                _await_sleep(each)
            yield running
        finally:
            for name, each in running.items():
                # Without an answer, the sleep fails and the program ends.
                each.communicate(timeout=PATIENCE)
                self.said[name] = (self.root / f"{name}.log").read_text(encoding="ascii")

    def _start(self, name: str) -> subprocess.Popen[str]:
        peers = " ".join(f"http://peer/{one}" for one in self.names if one != name)
        place = str(self.names.index(name))
        words = [str(INTERVAL), str(FAILURES), str(STARTUP), "2??", place, f"http://own/{name}", peers, "-H", "Host: x"]
        with (self.root / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                ["sh", str(PROGRAM), "web.service", *words],
                env={"PATH": f"{self.root}/bin:{os.environ['PATH']}", "ROOT": str(self.root), "HOST": name},
                stdin=subprocess.PIPE,
                stdout=log,
                # On which only the stand-in for sleep writes.
                stderr=subprocess.PIPE,
                text=True,
            )


def _await_sleep(watchdog: subprocess.Popen[str]) -> None:
    assert watchdog.stderr is not None
    assert watchdog.stderr.readline() == "asleep\n"
