"""Run the phases of a decision: after each phase, observe the hosts again and let the decision continue from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Generic, Self, TypeVar

from plainstack.deploy import lock
from plainstack.deploy.lookout import Lookout
from plainstack.deploy.step_runner import Doable, Done, Event, StepRunner
from plainstack.engine.network import Network
from plainstack.postgresql.failover.phases import Do
from plainstack.postgresql.step_frame import Origin

_Step = TypeVar("_Step", bound=Doable)
_Seen = TypeVar("_Seen")


class PhasedRun(ABC, Generic[_Step, _Seen]):
    """The base of a failover and of a restore; a subclass says what is observed and which script a step runs."""

    def __init__(
        self, network: Network, command: str, report: Callable[[Event], None], locks: lock.Locks = lock.RUN
    ) -> None:
        self.stack = network.stack
        self._runner = StepRunner(network.stack, command, report, locks)
        self._lookout = Lookout(network, self._runner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    @property
    def log(self) -> list[Done]:
        """The steps that were run."""
        return self._runner.log

    @property
    def began(self) -> float:
        """When this object was created, on the monotonic clock."""
        return self._runner.began

    @abstractmethod
    def _look(self) -> _Seen:
        """Return the state after a step; hosts that did not answer before are not asked again."""

    @abstractmethod
    def _script(self, step: _Step, origin: Origin) -> tuple[str, float]:
        """Return the script of a step, and its timeout in seconds."""

    def _follow(self, decision: Generator[tuple[_Step, ...], _Seen, None], now: _Seen) -> _Seen:
        """Run all phases of a decision about the state `now`, and return the last state."""
        phase = next(decision, None)
        while phase is not None:
            self._perform(phase)
            now = self._look()
            try:
                phase = decision.send(now)
            except StopIteration:
                phase = None
        return now

    def _perform(self, phase: tuple[_Step, ...]) -> None:
        origin = self._runner.origin()
        try:
            self._runner.perform({step: self._script(step, origin) for step in phase})
        finally:
            self._lookout.forget_fences(step.host for step in phase if step.do in (Do.FENCE, Do.UNFENCE))
