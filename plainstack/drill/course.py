"""The course of a fault: how it is caused, what reacts to it, and how the victim is repaired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Protocol

from plainstack.dataclass import dataclass
from plainstack.deploy.observe import Observer
from plainstack.deploy.step_runner import Event as Heard
from plainstack.drill import recovery
from plainstack.drill.clients import Clients
from plainstack.drill.faults import Fault
from plainstack.drill.measures import Healing, Rule, Stored
from plainstack.drill.reaction import Reaction
from plainstack.errors import HostFailed
from plainstack.ssh.connections import Sessions

# For how many seconds the drill waits if a fault needs no reaction; a killed service restarts by itself.
LASTS = 8.0


class Note(Protocol):
    """Shows a step to the operator and records it, by default at the present time; one with a mark is in the chart."""

    def __call__(self, text: str, mark: str = "", at: float | None = None) -> None: ...


@dataclass
class Course:
    """The course of a fault after which a service restarts by itself, or is started again by the drill.

    Times are on the drill's clock, None for what has not happened. `primary` is the primary of the database. `troubled`
    records what went wrong, so that the drill does not pass, without ending the repair. `rules` are conditions of the
    fault itself.
    """

    observer: Observer
    victim: str
    fault: Fault
    reaction: Reaction
    clients: Clients
    note: Note
    now: Callable[[], float]
    troubled: Callable[[str], None]
    primary: str = ""
    fault_at: float | None = None
    reaction_at: float | None = None
    promoted_at: float | None = None
    recovered_at: float | None = None
    healing: Healing | None = None
    rules: list[Rule] = field(default_factory=list)

    def begin(self) -> None:
        """Cause the fault. Raises HostFailed if that fails."""
        self.fault_at = self.now()
        if self.fault.planned:
            self.reaction_at = self.fault_at
            self.note(self.fault.says(self.victim), "switchover begins")
            return
        self.note(self.fault.says(self.victim), f"fault: {self.fault.name} on {self.victim}")
        self.inject()

    def inject(self) -> None:
        """Cut, stop or kill, as the fault says. Raises HostFailed."""
        if self.fault.cut:
            self.reaction.cut(self.victim)
            return
        output = self.observer.sessions.to(self.victim).script(self.fault.script(), timeout=60, step="fault")
        if output.code != 0:
            raise HostFailed(self.victim, "fault", "could not be made", output.err.splitlines()[-3:], output.code)

    def react(self) -> None:
        """Wait for the reaction, or react as an operator."""
        assert self.fault_at is not None
        self.clients.pass_until(self.fault_at + LASTS)

    def heard(self, step: Heard) -> None:
        """Take notice of a step of a failover command."""

    def recover(self) -> None:
        """Repair the victim. Raises HostFailed."""
        if self.fault.cut:
            self.reaction.mend(self.victim)
            self.note(f"the cables of {self.victim} are reconnected", f"{self.victim} is back")
            self.observer.sessions.forget(self.victim)
        self.repair()
        self.recovered_at = self.now()
        self.note(f"{self.victim} works again", f"{self.victim} recovered")

    def repair(self) -> None:
        """Start what did not start by itself, and wait until it works. Raises HostFailed."""
        recovery.heal(self.observer.sessions.fresh(self.victim), self.fault)
        recovery.await_service(self.observer.sessions.fresh(self.victim), self.fault, self.observer.stack)

    def stored(self, _sessions: Sessions) -> Stored:
        """Return what is stored elsewhere than in the database. Raises HostFailed."""
        return {}

    def clean_up(self) -> None:
        """Remove what the drill stored elsewhere than in the database. Raises HostFailed."""
