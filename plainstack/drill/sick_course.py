"""The course of a sickness: a process answers 500 to everything, until its watchdog restarts it."""

from __future__ import annotations

from dataclasses import replace

from plainstack.drill import recovery
from plainstack.drill.course import Course
from plainstack.drill.measures import Healing
from plainstack.drill.sickness import Sickness


class SickCourse(Course):
    """The course of a sickness, which the drill itself ends only if the watchdog does not."""

    sickness: Sickness | None = None

    def inject(self) -> None:
        """Make the process sick. Raises HostFailed."""
        assert self.fault.patient is not None
        self.sickness = Sickness(self.fault.patient, self.now, self.note)
        address = self.observer.stack.hosts[self.victim].address
        self.sickness.begin(self.observer.sessions.fresh(self.victim), str(address), address.version)
        assert self.sickness.sick is not None
        self.healing = Healing(self.fault.patient.budget, self.sickness.sick)
        self.note(f"{self.fault.patient.unit} answers 500", "sick", self.sickness.sick)

    def react(self) -> None:
        """Wait until the watchdog has restarted the process, and the process is healthy."""
        assert self.sickness is not None
        assert self.healing is not None
        patient = self.sickness.patient
        if not self.sickness.await_restart(self.healing.sick + patient.budget):
            self.note(f"{patient.unit} was not restarted within {patient.budget:g} s")
            return
        recovery.await_service(self.observer.sessions.fresh(self.victim), self.fault, self.observer.stack)
        self.healing = replace(
            self.healing,
            restarted=self.sickness.restarted,
            healthy=self.now(),
            by_watchdog=self.sickness.by_watchdog,
        )

    def repair(self) -> None:
        """End the sickness, and wait until the process works. Raises HostFailed."""
        if self.sickness is not None:
            self.sickness.end(self.observer.sessions.fresh(self.victim))
        super().repair()
