"""The course of a fault of the primary: detection, promotion, and the old primary's return as a standby."""

from __future__ import annotations

from plainstack.deploy.step_runner import Event as Heard
from plainstack.drill import detection, recovery
from plainstack.drill.course import Course
from plainstack.drill.faults import BEHIND
from plainstack.errors import PlainstackError
from plainstack.postgresql.failover.decisions import Do


class DatabaseCourse(Course):
    """The course of a fault of the primary, to which the drill reacts as an operator would."""

    def inject(self) -> None:
        """Cause the fault, after cutting the standbys off if it says so. Raises HostFailed."""
        for name in self._behind():
            self.reaction.cut(name)
        if self._behind():
            self.clients.pass_until(self.now() + BEHIND)
        try:
            super().inject()
        finally:
            self._mend_standbys()

    def react(self) -> None:
        """Switch over, or detect that the primary is dead and promote a standby."""
        assert self.fault_at is not None
        if self.fault.planned:
            self.primary = self.reaction.switchover()
            return
        session = self.observer.sessions.to(self.victim)
        quiet = detection.await_death(self.clients, session, self.now, self.fault_at)
        self.reaction_at = self.now()
        self.note(f"no write for {quiet:.1f} s, and {self.victim} does not report that it works", "detected")
        self.primary = self.reaction.promote()

    def heard(self, step: Heard) -> None:
        """Record that a step of a failover command begins or ends."""
        if step.progress:
            return
        if step.done is None:
            self.note(f"{step.step.host}: {step.step.says}")
        elif step.done.error:
            self.note(f"{step.step.host}: {step.step.says}: {step.done.error}")
        elif step.step.do in (Do.PROMOTE, Do.PROMOTE_ALONE):
            self.promoted_at = self.now()
            self.note(f"{step.step.host} is the primary", f"{step.step.host} promoted")

    def recover(self) -> None:
        """Repair the victim. Raises HostFailed."""
        self._mend_standbys()
        super().recover()

    def repair(self) -> None:
        """Let the old primary try to take writes, complete an unfinished promotion, and rejoin the old primary."""
        if self.fault.cut and self.promoted_at is not None:
            try:
                self.note(self.clients.tempt(self.victim, self.observer.sessions.to(self.victim)))
            except PlainstackError as error:
                self.troubled(f"could not try to write to {self.victim}: {error}")
        leader = self.reaction.leader()
        if not leader and self.reaction_at is not None:
            self.note("there is no primary, so the unfinished promotion is completed")
            leader = self.reaction.switchover() if self.fault.planned else self.reaction.promote()
        elif not leader:
            self.note(f"no host took over, so {self.victim} is started again")
            recovery.heal(self.observer.sessions.fresh(self.victim), self.fault)
            leader = self.victim
        self.primary = leader
        if leader != self.victim:
            self.reaction.rejoin(self.victim)

    def _behind(self) -> list[str]:
        others = self.observer.stack.with_role("db") if self.fault.behind else []
        return [host.name for host in others if host.name != self.victim]

    def _mend_standbys(self) -> None:
        for name in self._behind():
            self.reaction.mend(name)
            self.observer.sessions.forget(name)
