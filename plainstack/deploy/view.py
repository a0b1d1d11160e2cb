"""What a run observed of its hosts, and how it reports its progress."""

from __future__ import annotations

from dataclasses import field
from typing import Protocol

from plainstack.dataclass import dataclass
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack


class Listener(Protocol):
    """Receives the progress of a run."""

    def step(self, host: str, stage: str, step: str, /) -> None:
        """Report that a step of a stage begins on a host."""

    def progress(self, host: str, stage: str, line: str, /) -> None:
        """Report a line that the current step of a stage has printed; there is at most one a second."""

    def ended(self, host: str, stage: str, seconds: float, error: str, /) -> None:
        """Report that a stage has ended on a host; `error` is "" if it succeeded."""

    def note(self, text: str, /) -> None:
        """Report a message for the operator that belongs to no step."""


@dataclass
class View:
    """The result of observing hosts: the state and the plan of each, or its error in `failed`.

    `stack` is the stack that the plans lead to: that of the inventory with the holds of the hosts, or an intermediate
    one; see plainstack.engine.transition.
    """

    stack: Stack
    plans: dict[str, HostPlan] = field(default_factory=dict)
    observed: dict[str, Observed] = field(default_factory=dict)
    failed: dict[str, HostFailed] = field(default_factory=dict)

    @property
    def pending(self) -> dict[str, HostPlan]:
        """The plans that are not empty."""
        return {name: plan for name, plan in self.plans.items() if not plan.empty}
