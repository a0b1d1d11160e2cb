"""The course of a drill: load, fault, reaction, recovery, and final look. The recovery runs even after an error."""

from __future__ import annotations

import time
from collections.abc import Callable

from plainstack.deploy.observe import Observer
from plainstack.deploy.step_runner import Event as Heard
from plainstack.drill import database, detection, preflight, recovery
from plainstack.drill.clients import Clients
from plainstack.drill.faults import BEHIND, Fault
from plainstack.drill.history import Attempt, Kind
from plainstack.drill.reaction import Reaction
from plainstack.drill.requests import writes
from plainstack.drill.result import Event, Result, Settings
from plainstack.drill.verdict import Ending, Marks, Stored, judge
from plainstack.errors import HostFailed, PlainstackError
from plainstack.postgresql.failover.decisions import Do
from plainstack.ssh.connections import Sessions

# For how many seconds the drill waits if a fault needs no reaction; a killed service restarts by itself.
LASTS = 8.0
WHOLE_WITHIN = 90.0


class Scenario:
    """One drill; `run` returns its result and the attempts of its clients."""

    def __init__(
        self, observer: Observer, settings: Settings, fault: Fault, reaction: Reaction, report: Callable[[str], None]
    ) -> None:
        self.observer, self.settings, self.fault, self.reaction = observer, settings, fault, reaction
        self.stack = observer.stack
        self.events: list[Event] = []
        self.trouble: list[str] = []
        self.interrupted = False
        self.clients = Clients(observer, settings, fault, self.now)
        self._report = report
        self._began = time.monotonic()
        self._fault_at: float | None = None
        self._reaction_at: float | None = None
        self._promoted_at: float | None = None
        self._recovered_at: float | None = None
        self._primary = ""

    def now(self) -> float:
        """Return the seconds on the drill's clock, which starts with the first request."""
        return time.monotonic() - self._began

    def _begin(self) -> None:
        self._began = time.monotonic()

    def note(self, text: str, mark: str = "") -> None:
        """Show a step to the operator, and record it for the report."""
        event = Event(self.now(), text, mark)
        self.events.append(event)
        self._report(f"[{event.at:6.1f}s] {text}")

    def heard(self, step: Heard) -> None:
        """Record that a step of a failover command begins or ends."""
        if step.progress:
            return
        if step.done is None:
            self.note(f"{step.step.host}: {step.step.says}")
        elif step.done.error:
            self.note(f"{step.step.host}: {step.step.says}: {step.done.error}")
        elif step.step.do in (Do.PROMOTE, Do.PROMOTE_ALONE):
            self._promoted_at = self.now()
            self.note(f"{step.step.host} is the primary", f"{step.step.host} promoted")

    def run(self, primary: str) -> tuple[Result, tuple[Attempt, ...]]:
        """Run the drill, from load to verdict. Raises Refused if it has to end before the fault."""
        self._primary = primary
        database.prepare(self.stack, self.observer.sessions.to(primary))
        try:
            try:
                self.note("load begins: " + self.clients.start(self._begin))
                kinds: list[Kind] = ["get", "sql", "post"]
                self.clients.warm_up(kinds if writes(self.stack) else kinds[:2])
                self._hurt_and_heal()
            finally:
                self.clients.stop()
            return self._conclude()
        finally:
            self._clean_up()

    def _hurt_and_heal(self) -> None:
        try:
            self._inject()
            self._react()
        except KeyboardInterrupt:
            self._interrupt()
        except PlainstackError as error:
            self._troubled(str(error))
        finally:
            with recovery.unbroken(self.note) as interrupts:
                self._recover()
        if interrupts:
            self._interrupt()
        try:
            self.clients.await_end()
        except KeyboardInterrupt:
            self._interrupt()
        self.trouble += [death for death in self.clients.deaths() if death not in self.trouble]
        self.note("load ends")

    def _troubled(self, text: str) -> None:
        self.note(text)
        self.trouble.append(text)

    def _interrupt(self) -> None:
        if not self.interrupted:
            self.interrupted = True
            self._troubled("it was interrupted")

    def _inject(self) -> None:
        victim = self.settings.victim
        self._fault_at = self.now()
        if self.fault.planned:
            self._reaction_at = self._fault_at
            self.note(self.fault.says(victim), "switchover begins")
            return
        self.note(self.fault.says(victim), f"fault: {self.fault.name} on {victim}")
        if self.fault.cut:
            self.reaction.cut(victim)
            return
        if self.fault.behind:
            self._cut_standbys()
        output = self.observer.sessions.to(victim).script(self.fault.script(), timeout=60, step="fault")
        self._mend_standbys()
        if output.code != 0:
            raise HostFailed(victim, "fault", "could not be made", output.err.splitlines()[-3:], output.code)

    def _standbys(self) -> list[str]:
        others = self.stack.with_role("db") if self.fault.behind else []
        return [host.name for host in others if host.name != self.settings.victim]

    def _cut_standbys(self) -> None:
        for name in self._standbys():
            self.reaction.cut(name)
        self.clients.pass_until(self.now() + BEHIND)

    def _mend_standbys(self) -> None:
        for name in self._standbys():
            self.reaction.mend(name)
            self.observer.sessions.forget(name)

    def _react(self) -> None:
        assert self._fault_at is not None
        if self.fault.planned:
            self._primary = self.reaction.switchover()
        elif self.fault.target == "db":
            victim = self.settings.victim
            quiet = detection.await_death(self.clients, self.observer.sessions.to(victim), self.now, self._fault_at)
            self._reaction_at = self.now()
            self.note(f"no write for {quiet:.1f} s, and {victim} does not report that it works", "detected")
            self._primary = self.reaction.promote()
        else:
            self.clients.pass_until(self._fault_at + LASTS)

    def _recover(self) -> None:
        if self._fault_at is None:
            return
        victim = self.settings.victim
        try:
            self._mend_standbys()
            if self.fault.cut:
                self.reaction.mend(victim)
                self.note(f"the cables of {victim} are reconnected", f"{victim} is back")
                self.observer.sessions.forget(victim)
            if self.fault.target == "db":
                self._recover_database(victim)
            else:
                recovery.heal(self.observer.sessions.fresh(victim), self.fault)
                recovery.await_service(self.observer.sessions.fresh(victim), self.fault, self.stack)
            self._recovered_at = self.now()
            self.note(f"{victim} works again", f"{victim} recovered")
        except PlainstackError as error:
            self._troubled(f"the recovery failed: {error}")

    def _recover_database(self, victim: str) -> None:
        if self.fault.cut and self._promoted_at is not None:
            try:
                self.note(self.clients.tempt(victim, self.observer.sessions.to(victim)))
            except PlainstackError as error:
                self._troubled(f"could not try to write to {victim}: {error}")
        leader = self.reaction.leader()
        if not leader and self._reaction_at is not None:
            self.note("there is no primary, so the unfinished promotion is completed")
            leader = self.reaction.switchover() if self.fault.planned else self.reaction.promote()
        elif not leader:
            self.note(f"no host took over, so {victim} is started again")
            recovery.heal(self.observer.sessions.fresh(victim), self.fault)
            leader = victim
        self._primary = leader
        if leader != victim:
            self.reaction.rejoin(victim)

    def _conclude(self) -> tuple[Result, tuple[Attempt, ...]]:
        ending, stored = self._last_look()
        marks = Marks(
            load_end=self.settings.seconds,
            fault=self._fault_at if self._fault_at is not None else self.now(),
            reaction=self._reaction_at,
            promoted=self._promoted_at,
            recovered=self._recovered_at,
        )
        attempts = self.clients.recorder.history()
        verdict = judge(attempts, stored, marks, ending, self.settings.budgets)
        return Result(self.settings, marks, tuple(self.events), verdict, self.interrupted), attempts

    def _last_look(self) -> tuple[Ending, Stored | None]:
        topology: list[str] | None = None
        checks: list[str] | None = None
        stored: Stored | None = None
        try:
            # Use new connections: old ones may be dead without having failed yet.
            with Sessions(self.stack) as sessions:
                seen = preflight.until_whole(self.observer, sessions, WHOLE_WITHIN, self.note)
                topology = list(seen.problems)
                self._primary = seen.primary or self._primary
                primary = sessions.to(self._primary)
                stored = database.final_read(self.stack, primary, self.settings.drill)
                checks = preflight.checks(self.observer, sessions, (), self.note)
        except KeyboardInterrupt:
            self._interrupt()
            self._troubled("the final reading was interrupted")
        except PlainstackError as error:
            self._troubled(f"the final reading failed: {error}")
        return Ending(topology, checks, tuple(self.trouble)), stored

    def _clean_up(self) -> None:
        try:
            database.clean_up(self.stack, self.observer.sessions.fresh(self._primary), self.settings.drill)
        except PlainstackError as error:
            self.note(f"the drill's rows could not be removed; the next drill will: {error}")
