"""The course of a drill: load, fault, reaction, recovery, and final look. The recovery runs even after an error."""

from __future__ import annotations

import time
from collections.abc import Callable

from plainstack.deploy.observe import Observer
from plainstack.deploy.step_runner import Event as Heard
from plainstack.drill import database, preflight, recovery
from plainstack.drill.cache_course import CacheCourse
from plainstack.drill.clients import Clients
from plainstack.drill.course import Course
from plainstack.drill.database_course import DatabaseCourse
from plainstack.drill.faults import CACHE, Fault
from plainstack.drill.history import Attempt
from plainstack.drill.measures import Ending, Marks, Stored
from plainstack.drill.reaction import Reaction
from plainstack.drill.result import Event, Result, Settings
from plainstack.drill.sick_course import SickCourse
from plainstack.drill.verdict import judge
from plainstack.errors import PlainstackError
from plainstack.ssh.connections import Sessions

WHOLE_WITHIN = 90.0


class Scenario:
    """One drill; `run` returns its result and the attempts of its clients."""

    def __init__(
        self, observer: Observer, settings: Settings, fault: Fault, reaction: Reaction, report: Callable[[str], None]
    ) -> None:
        self.observer, self.settings = observer, settings
        self.stack = observer.stack
        self._stores = bool(self.stack.with_role("db"))
        self.events: list[Event] = []
        self.trouble: list[str] = []
        self.interrupted = False
        self.clients = Clients(observer, settings, fault, self.now)
        self._report = report
        self._began = time.monotonic()
        kind = {"db": DatabaseCourse, CACHE: CacheCourse}.get(fault.target, Course)
        self.course: Course = (SickCourse if fault.patient else kind)(
            observer, settings.victim, fault, reaction, self.clients, self.note, self.now, self._troubled
        )

    def now(self) -> float:
        """Return the seconds on the drill's clock, which starts with the first request."""
        return time.monotonic() - self._began

    def _begin(self) -> None:
        self._began = time.monotonic()

    def note(self, text: str, mark: str = "", at: float | None = None) -> None:
        """Show a step to the operator, and record it for the report; by default it happens now."""
        event = Event(self.now() if at is None else at, text, mark)
        self.events.append(event)
        self._report(f"[{event.at:6.1f}s] {text}")

    def heard(self, step: Heard) -> None:
        """Take notice of a step of a failover command."""
        self.course.heard(step)

    def run(self, primary: str) -> tuple[Result, tuple[Attempt, ...]]:
        """Run the drill, from load to verdict. Raises Refused if it has to end before the fault."""
        self.course.primary = primary
        if self._stores:
            database.prepare(self.stack, self.observer.sessions.to(primary))
        try:
            try:
                self.note("load begins: " + self.clients.start(self._begin))
                self.clients.warm_up(self.clients.kinds)
                self._hurt_and_heal()
            finally:
                self.clients.stop()
            return self._conclude()
        finally:
            self._clean_up()

    def _hurt_and_heal(self) -> None:
        try:
            self.course.begin()
            self.course.react()
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

    def _recover(self) -> None:
        if self.course.fault_at is None:
            return
        try:
            self.course.recover()
        except PlainstackError as error:
            self._troubled(f"the recovery failed: {error}")

    def _conclude(self) -> tuple[Result, tuple[Attempt, ...]]:
        course = self.course
        ending, stored = self._last_look()
        marks = Marks(
            load_end=self.settings.seconds,
            fault=course.fault_at if course.fault_at is not None else self.now(),
            reaction=course.reaction_at,
            promoted=course.promoted_at,
            recovered=course.recovered_at,
            healing=course.healing,
        )
        attempts = self.clients.recorder.history()
        verdict = judge(attempts, stored, marks, ending, self.settings.budgets, course.rules)
        # The watchdog's messages are recorded after the restart, with their own times.
        events = tuple(sorted(self.events, key=lambda event: event.at))
        return Result(self.settings, marks, events, verdict, self.interrupted), attempts

    def _last_look(self) -> tuple[Ending, Stored | None]:
        topology: list[str] | None = None
        checks: list[str] | None = None
        stored: Stored | None = None
        try:
            # Use new connections: old ones may be dead without having failed yet.
            with Sessions(self.stack) as sessions:
                seen = preflight.until_whole(self.observer, sessions, WHOLE_WITHIN, self.note)
                topology = list(seen.problems)
                self.course.primary = seen.primary or self.course.primary
                stored = self.course.stored(sessions)
                if self._stores:
                    primary = sessions.to(self.course.primary)
                    stored = {**database.final_read(self.stack, primary, self.settings.drill), **stored}
                checks = preflight.checks(self.observer, sessions, (), self.note)
        except KeyboardInterrupt:
            self._interrupt()
            self._troubled("the final reading was interrupted")
        except PlainstackError as error:
            self._troubled(f"the final reading failed: {error}")
        return Ending(topology, checks, tuple(self.trouble)), stored

    def _clean_up(self) -> None:
        try:
            self.course.clean_up()
            if self._stores:
                database.clean_up(self.stack, self.observer.sessions.fresh(self.course.primary), self.settings.drill)
        except PlainstackError as error:
            self.note(f"the drill's rows could not be removed; the next drill will: {error}")
