"""The course of one drill: load, fault, reaction, recovery, and the last look; the stack is never left broken."""

from __future__ import annotations

import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from types import FrameType

from plainstack.database.operations import Event as Heard
from plainstack.drill import database, generators, preflight
from plainstack.drill.faults import Fault
from plainstack.drill.generators import Generator
from plainstack.drill.history import Attempt, Recorder
from plainstack.drill.reaction import Reaction
from plainstack.drill.result import Event, Result, Settings
from plainstack.drill.verdict import Ending, Marks, Stored, judge
from plainstack.errors import HostFailed, PlainstackError, Refused
from plainstack.run import Runner
from plainstack.ssh import Sessions
from plainstack.stack import Stack

WARM_UP = 5.0
# How long clients go without a write before anybody suspects the primary, and how long it has to deny it.
SUSPICION, DENIAL = 1.0, 1.0
UNNOTICED = 15.0
# How long a fault that nobody has to react to lasts; a killed service comes back on its own.
LASTS = 8.0
WHOLE_WITHIN = 90.0


class Course:
    """One drill; `run` gives its result and what its clients tried."""

    def __init__(
        self, runner: Runner, settings: Settings, fault: Fault, reaction: Reaction, tell: Callable[[str], None]
    ) -> None:
        self.stack: Stack = runner.stack
        self.runner, self.settings, self.fault, self.reaction = runner, settings, fault, reaction
        self.events: list[Event] = []
        self.recorder = Recorder()
        self.trouble: list[str] = []
        self._tell = tell
        self._began = time.monotonic()
        self._generators: list[Generator] = []
        self._posts = False
        self._fault_at: float | None = None
        self._reaction_at: float | None = None
        self._promoted_at: float | None = None
        self._recovered_at: float | None = None
        self._primary = ""

    def now(self) -> float:
        """Seconds on the drill's clock."""
        return time.monotonic() - self._began

    def note(self, text: str, mark: str = "") -> None:
        """A step: for the person who waits, and for the report."""
        event = Event(self.now(), text, mark)
        self.events.append(event)
        self._tell(f"[{event.at:6.1f}s] {text}")

    def heard(self, step: Heard) -> None:
        """A step of a failover command begins or ended."""
        if step.done is None:
            self.note(f"{step.step.host}: {step.step.says}")
        elif step.done.error:
            self.note(f"{step.step.host}: {step.step.says}: {step.done.error}")

    def run(self, primary: str) -> tuple[Result, tuple[Attempt, ...]]:
        """From load to verdict. Raises Refused when it ends before anything was hurt."""
        self._primary = primary
        self._posts = database.prepare(self.stack, self.runner.sessions.to(primary))
        try:
            with self._load():
                self._warm_up()
                try:
                    self._inject()
                    self._react()
                except KeyboardInterrupt:
                    self.trouble.append("it was interrupted")
                except PlainstackError as error:
                    self.trouble.append(str(error))
                finally:
                    with unbroken(self.note):
                        self._recover()
                self._await_load_end()
            return self._conclude()
        finally:
            self._clean_up()

    # The load

    @contextmanager
    def _load(self) -> Iterator[None]:
        try:
            self._start_load()
            yield
        finally:
            for generator in self._generators:
                generator.stop()

    def _start_load(self) -> None:
        settings, sessions = self.settings, self.runner.sessions
        service = next(iter(self.stack.services))
        apps = [host.name for host in self.stack.with_role("app") if host.name != settings.victim]
        databases = ",".join(host.name for host in self.stack.with_role("db"))
        site, sql = (Generator(name, self.recorder, self.now) for name in ("site", "sql"))
        self._generators += [sql, site]
        generators.writer(
            sql,
            sessions,
            apps[-1],
            service,
            (settings.drill, "sql"),
            rate=settings.rate * 0.25,
            seconds=settings.seconds,
            hosts=databases,
        )
        sql.await_hello(15)
        # The drill's clock begins with the first request.
        self._began, sql.began = time.monotonic(), 0.0
        generators.site(
            site,
            self.stack,
            self.runner.vault,
            settings.drill,
            rate=settings.rate * 0.75,
            seconds=settings.seconds,
            posts=self._posts,
        )
        site.await_hello(15)
        what = "GET and POST at the site" if self._posts else "GET at the site (the application takes no samples)"
        self.note(f"load begins: {settings.rate:g} requests/s, {what}, inserts from {apps[-1]}")

    def _died(self) -> bool:
        return any(generator.died for generator in self._generators)

    def _warm_up(self) -> None:
        generators.wait(self.now, WARM_UP, self._died)
        seen = self.recorder.history()
        kinds = ["get", "sql", *(["post"] if self._posts else [])]
        failed = [a for a in seen if a.outcome is not None and not a.ok]
        silent = [kind for kind in kinds if not any(a.kind == kind and a.ok for a in seen)]
        if self._died():
            raise Refused(f"{self._first_death()}; nothing was hurt")
        if silent or len(failed) > len(seen) / 20:
            why = f"{failed[0].kind}: {failed[0].outcome}" if failed else f"no {silent[0]} was answered"
            raise Refused(
                f"the load does not get through even before the fault ({why}; {len(failed)} of {len(seen)} failed),"
                " so nothing was hurt. Try a lower --rate, or look: inv verify"
            )

    def _first_death(self) -> str:
        return next(generator.died for generator in self._generators if generator.died)

    def _await_load_end(self) -> None:
        for generator in self._generators:
            generator.join(self.settings.seconds + generators.GRACE - self.now())
        self.trouble += [f"{generator.died}; its numbers end there" for generator in self._generators if generator.died]
        self.note("load ends")

    # Fault, reaction, recovery

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
        output = self.runner.sessions.to(victim).script(self.fault.script(), timeout=60, step="fault")
        if output.code != 0:
            raise HostFailed(victim, "fault", "could not be made", output.err.splitlines()[-3:], output.code)

    def _react(self) -> None:
        if self.fault.planned:
            self._primary = self.reaction.switchover()
            self._promoted_at = self.now()
            self.note(f"{self._primary} is the primary", f"{self._primary} is primary")
        elif self.fault.target == "db":
            self._await_detection()
            self._primary = self.reaction.promote()
            self._promoted_at = self.now()
            self.note(f"{self._primary} is the primary", f"{self._primary} promoted")
        else:
            assert self._fault_at is not None
            generators.wait(self.now, self._fault_at + LASTS, self._died)

    def _await_detection(self) -> None:
        """The way a monitor would: clients' writes stop, and the primary does not say that it works."""
        assert self._fault_at is not None
        give_up = self._fault_at + UNNOTICED
        while self.now() < give_up and not self._died():
            quiet = self.now() - self.recorder.last_ok.get("sql", self._fault_at)
            if quiet >= SUSPICION and not self._denies():
                self._reaction_at = self.now()
                victim = self.settings.victim
                self.note(f"no write for {quiet:.1f} s, and {victim} does not say that it works", "detected")
                return
            time.sleep(0.05)
        raise Refused(self._first_death() if self._died() else "the fault was not noticed: writes went on")

    def _denies(self) -> bool:
        """Whether the primary itself says in time that it works; a thread asks, for a dead host never answers."""
        answers: Queue[bool] = Queue()
        session = self.runner.sessions.to(self.settings.victim)

        def ask() -> None:
            with suppress(HostFailed):
                answers.put(session.script(database.READY, timeout=5).code == 0)

        threading.Thread(target=ask, daemon=True).start()
        try:
            return answers.get(timeout=DENIAL)
        except Empty:
            return False

    def _recover(self) -> None:
        if self._fault_at is None:
            return
        victim = self.settings.victim
        try:
            if self.fault.cut:
                self.reaction.mend(victim)
                self.note(f"the cables of {victim} are plugged in again", f"{victim} is back")
                self.runner.sessions.forget(victim)
            if self.fault.target == "db":
                self._recover_database(victim)
            elif not self.fault.cut:
                self._heal(victim)
            if self.fault.target != "db":
                self._await_service(victim)
            self._recovered_at = self.now()
            self.note(f"{victim} does its work again", f"{victim} recovered")
        except PlainstackError as error:
            self.trouble.append(f"recovery: {error}")
            self.note(f"the recovery failed: {error}")

    def _heal(self, host: str) -> None:
        output = self.runner.sessions.fresh(host).script(self.fault.heal_script(), timeout=90, step="start again")
        if output.code != 0:
            raise HostFailed(host, "start again", "failed", output.err.splitlines()[-5:], output.code)

    def _recover_database(self, victim: str) -> None:
        if self.fault.cut and self._promoted_at is not None:
            self._tempt(victim)
        leader = self.reaction.leader()
        if leader and leader != victim:
            self._primary = leader
            self.reaction.rejoin(victim)
        elif not self.fault.cut and not self.fault.planned:
            # Nobody took over: the old primary is the only one that has everything.
            self.note(f"nobody took over, so {victim} is started again")
            self._heal(victim)

    def _tempt(self, victim: str) -> None:
        """Clients that know only the old primary try to write there, before anybody has told it that it is none."""
        app = [host.name for host in self.stack.with_role("app")][-1]
        stray = Generator("stray", self.recorder, self.now)
        generators.writer(
            stray,
            self.runner.sessions,
            app,
            next(iter(self.stack.services)),
            (self.settings.drill, "stray"),
            rate=5,
            seconds=3,
            hosts=victim,
        )
        try:
            stray.await_hello(10)
            stray.join(20)
        finally:
            stray.stop()
        tried = [a for a in self.recorder.history() if a.kind == "stray"]
        took = sum(a.ok for a in tried)
        answers = ", ".join(sorted({a.outcome or "no answer" for a in tried if not a.ok}))
        self.note(f"{len(tried)} writes tried straight at {victim}, it took {took} ({answers})")

    def _await_service(self, victim: str) -> None:
        healthy = shlex.quote(self.fault.healthy_script(self.stack, self.stack.hosts[victim]))
        wait = f"timeout 60 sh -c 'until sh -c \"$1\" >/dev/null 2>&1; do sleep 0.1; done' sh {healthy}"
        output = self.runner.sessions.fresh(victim).script(wait, timeout=70, step="wait for the service")
        if output.code != 0:
            raise HostFailed(victim, "wait for the service", "it was not back within 60 s")

    # The end

    def _conclude(self) -> tuple[Result, tuple[Attempt, ...]]:
        ending, stored = self._last_look()
        marks = Marks(
            load_end=self.settings.seconds,
            fault=self._fault_at if self._fault_at is not None else self.now(),
            reaction=self._reaction_at,
            promoted=self._promoted_at,
            recovered=self._recovered_at,
        )
        attempts = self.recorder.history()
        verdict = judge(attempts, stored, marks, ending, self.settings.budgets)
        return Result(self.settings, marks, tuple(self.events), verdict), attempts

    def _last_look(self) -> tuple[Ending, Stored | None]:
        topology: list[str] | None = None
        checks: list[str] | None = None
        stored: Stored | None = None
        try:
            # New connections: those of before the fault may be dead and not know it.
            with Sessions(self.stack) as sessions:
                seen = preflight.until_whole(self.runner, sessions, WHOLE_WITHIN, self.note)
                topology = list(seen.problems)
                self._primary = seen.primary or self._primary
                primary = sessions.to(self._primary)
                stored = database.final_read(self.stack, primary, self.settings.drill, posts=self._posts)
                checks = preflight.checks(self.runner, sessions, (), self.note)
        except (KeyboardInterrupt, PlainstackError) as error:
            self.trouble.append(f"the last look: {error or 'it was interrupted'}")
        return Ending(topology, checks, tuple(self.trouble)), stored

    def _clean_up(self) -> None:
        try:
            database.clean_up(self.stack, self.runner.sessions.fresh(self._primary), posts=self._posts)
        except PlainstackError as error:
            self.note(f"the drill's rows could not be removed; the next drill will: {error}")


@contextmanager
def unbroken(note: Callable[[str], None]) -> Iterator[None]:
    """One Ctrl-C does not end a recovery; it tells that the second one would."""

    def told(_signal: int, _frame: FrameType | None) -> None:
        note("recovering; Ctrl-C once more leaves the stack as it is now")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
