"""Run the steps of a decision over SSH: ask hosts, hold their locks, and run the steps of a phase at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from plainstack.dataclass import dataclass
from plainstack.deploy import lock
from plainstack.deploy.hurry import hurried
from plainstack.deploy.operator import commit, who
from plainstack.errors import HostFailed, PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.postgresql import observation
from plainstack.postgresql.step_frame import Origin
from plainstack.ssh.connections import Sessions

# Seconds until a host that accepts the connection but does not answer counts as away.
ANSWER_WITHIN = 6.0


class Doable(Protocol):
    """One action on one host, as plainstack.postgresql.failover.phases.Step describes it."""

    @property
    def do(self) -> StrEnum: ...
    @property
    def host(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def optional(self) -> bool: ...


_Step = TypeVar("_Step", bound=Doable)


@dataclass(frozen=True)
class Done:
    """A completed step: its times in seconds since the epoch, and the reason if it failed."""

    step: Doable
    begin: float
    end: float
    error: str = ""


@dataclass(frozen=True)
class Event:
    """The start of a step (`done` is None), a line that it printed (`progress`), or its end.

    `at` is in seconds since the runner was created.
    """

    at: float
    step: Doable
    done: Done | None = None
    progress: str = ""


class StepRunner:
    """The connections of a run to the hosts of a stack, its locks, and the log of its steps."""

    def __init__(self, stack: Stack, command: str, report: Callable[[Event], None], locks: lock.Locks) -> None:
        self.stack = stack
        self.command = command
        self.log: list[Done] = []
        self.began = time.monotonic()
        # Hosts that did not answer, with the reason. They are left out, because every attempt costs a timeout.
        self.away: dict[str, str] = {}
        self._report = report
        self._locks = locks
        self._sessions = Sessions(hurried(stack))

    def close(self) -> None:
        """Close all connections."""
        self._sessions.__exit__()

    def ask(self, scripts: Mapping[str, str]) -> dict[str, dict[str, str] | None]:
        """Run a script on each host and return the facts that it prints; None for a host that does not answer.

        The threads are daemons, so that a host that hangs does not delay the end of the program.
        """
        answers: dict[str, dict[str, str] | None] = dict.fromkeys(scripts)

        def one(name: str) -> None:
            try:
                output = self._sessions.to(name).script(scripts[name], timeout=ANSWER_WITHIN, step="observe")
                answers[name] = observation.parse(output.out)
            except PlainstackError as error:
                # Not only HostFailed: the gateway may refuse, or the lab may be down.
                self.away[name] = error.reason if isinstance(error, HostFailed) else str(error)
                self._sessions.forget(name)

        threads = {
            name: threading.Thread(target=one, args=(name,), daemon=True) for name in scripts if name not in self.away
        }
        for thread in threads.values():
            thread.start()
        deadline = time.monotonic() + ANSWER_WITHIN
        for name, thread in threads.items():
            thread.join(max(0, deadline - time.monotonic()))
            if thread.is_alive():
                self.away[name] = f"no answer within {ANSWER_WITHIN:.0f} s"
        return {name: None if name in self.away else answer for name, answer in answers.items()}

    def read(self, host: str, script: str, timeout: float) -> str:
        """Run a script that changes nothing on a host, and return its output. Raises HostFailed."""
        output = self._sessions.to(host).script(script, timeout=timeout, step="observe")
        if output.code != 0:
            raise HostFailed(host, "observe", "failed", _last(output.err.splitlines()), output.code)
        return output.out

    def lock(self, names: Iterable[str]) -> list[lock.Release]:
        """Lock those of the hosts that answered; see plainstack.deploy.lock.hold."""
        holder = lock.holder(who(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), self.command)
        return lock.hold([name for name in names if name not in self.away], self._sessions.to, holder, self._locks)

    def origin(self) -> Origin:
        """Return who runs the steps, for the audit logs of the hosts."""
        return Origin(who(), self._commit(), self.command)

    def perform(self, phase: Mapping[_Step, tuple[str, float]]) -> None:
        """Run the steps of a phase at the same time, each with its script and its timeout in seconds.

        Raises HostFailed if a step failed that is not optional.
        """
        with ThreadPoolExecutor(max_workers=len(phase)) as pool:
            done = list(pool.map(lambda item: self._step(item[0], *item[1]), phase.items()))
        self.log += done
        failed = [one for one in done if one.error and not one.step.optional]
        if failed:
            raise HostFailed(failed[0].step.host, failed[0].step.says, failed[0].error)

    def _step(self, step: Doable, text: str, timeout: float) -> Done:
        self._report(Event(time.monotonic() - self.began, step))
        begin = time.time()
        error = ""

        def line(text: str) -> None:
            if text.startswith(PROGRESS):
                self._report(Event(time.monotonic() - self.began, step, progress=text.removeprefix(PROGRESS)))

        try:
            output = self._sessions.to(step.host).script(text, timeout=timeout, step=step.says, on_line=line)
            if output.code != 0:
                said = [row for row in output.out.splitlines() if not row.startswith(PROGRESS)]
                error = "; ".join(_last(output.err.splitlines() or said)) or f"exit {output.code}"
        except HostFailed as failure:
            error = failure.reason
            self._sessions.forget(step.host)
        done = Done(step, begin, time.time(), error)
        self._report(Event(time.monotonic() - self.began, step, done))
        return done

    def _commit(self) -> str:
        if not hasattr(self, "_at_commit"):
            self._at_commit = commit(self.stack)
        return self._at_commit


# A line of a step's output that is shown while the step runs begins with this word.
PROGRESS = "progress: "


def _last(lines: Iterable[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()][-6:]
