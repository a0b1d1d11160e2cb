"""The clients of a drill: all load generators and their recorder, from the warm-up to the last response."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from typing import Literal

from plainstack.deploy.observe import Observer
from plainstack.drill import generators, writers
from plainstack.drill.faults import CACHE, Fault, writing_hosts
from plainstack.drill.generator import Generator
from plainstack.drill.history import Attempt, Kind, Recorder
from plainstack.drill.requests import writes
from plainstack.drill.result import Settings
from plainstack.drill.writers import Load
from plainstack.errors import Refused
from plainstack.postgresql.layout import AS_POSTGRES, BIN
from plainstack.postgresql.settings import Database
from plainstack.services.processes import served
from plainstack.ssh.session import Session

WARM_UP = 5.0
# If requests take more seconds than this before the fault, the drill would mostly measure queues.
SLOW = 0.5
# The site's share of the requests, two GETs per POST. The remaining requests go directly to the database.
SITE_SHARE = 0.75

Clock = Callable[[], float]


class Clients:
    """All clients that use the stack during the drill."""

    def __init__(self, observer: Observer, settings: Settings, fault: Fault, clock: Clock) -> None:
        self.recorder = Recorder()
        self._observer, self._settings, self._clock = observer, settings, clock
        self._generators: list[Generator] = []
        self.drill = settings.drill
        # The victim sends inserts only if it is the only app host and the fault does not cut it off.
        self._asked = fault.patient.served if fault.patient else served(observer.stack)[0]
        self._from = next(iter(writing_hosts(observer.stack, fault, settings.victim)), "")

    def start(self, began: Callable[[], None]) -> str:
        """Start the load and describe it in words; `began` is called when the first request is due."""
        settings, stack = self._settings, self._observer.stack
        writer = self._start_writer()
        if writer:
            writer.await_hello(15)
        began()
        if writer:
            writer.began = 0.0
        site = self._new("site")
        generators.ask_site(
            site,
            stack,
            self._observer.vault,
            settings.drill,
            self._asked,
            rate=settings.rate * SITE_SHARE,
            seconds=settings.seconds,
        )
        site.await_hello(15)
        what = "GET and POST at the site" if writes(stack) else "GET at the site (no service has a `drill` request)"
        direct = {"sql": "inserts", "cache": "writes to the cache"}.get(self.directly)
        return f"{settings.rate:g} requests/s: {what}" + (f", {direct} from {self._from}" if direct else "")

    @property
    def directly(self) -> Kind | Literal[""]:
        """What is written without the site: to the cache if that is the target, or else to the database, if any."""
        if self._settings.target == CACHE:
            return "cache"
        return "sql" if self._observer.stack.with_role("db") else ""

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of requests that the clients send."""
        found: list[Kind] = ["get"]
        if self.directly:
            found.append(self.directly)
        return [*found, "post"] if writes(self._observer.stack) else found

    def _start_writer(self) -> Generator | None:
        settings, kind = self._settings, self.directly
        if not kind:
            return None
        rate = settings.rate * (1 - SITE_SHARE)
        generator = self._new(kind)
        load = Load(settings.drill, kind, rate, settings.seconds)
        if kind == "cache":
            writers.store(generator, self._observer.vault, self._observer.sessions, self._from, load)
        else:
            self._insert(generator, load, ",".join(host.name for host in self._observer.stack.with_role("db")))
        return generator

    def _new(self, name: str) -> Generator:
        generator = Generator(name, self.recorder, self._clock)
        self._generators.append(generator)
        return generator

    def _insert(self, generator: Generator, load: Load, hosts: str) -> None:
        observer = self._observer
        writers.insert(generator, observer.stack, observer.vault, observer.sessions, self._from, load, hosts)

    def warm_up(self, kinds: Iterable[Kind]) -> None:
        """Run the load for WARM_UP seconds. Raises Refused if requests fail or are too slow, or if a generator dies."""
        begun = max(generator.began or 0.0 for generator in self._generators)
        generators.wait(self._clock, begun + WARM_UP, self.broken)
        if self.broken():
            raise Refused(f"{self.deaths()[0]}. Nothing was broken")
        seen = self.recorder.history()
        failed = [a for a in seen if a.outcome is not None and not a.ok]
        slow = [a for a in seen if (a.latency or self._clock() - a.due) > SLOW]
        if len(slow) > len(seen) / 3:
            raise Refused(
                f"the stack is too slow for --rate={self._settings.rate:g} even before the fault: {len(slow)} of"
                f" {len(seen)} requests took more than {SLOW:g} s. Nothing was broken. Try a lower --rate"
            )
        silent = [kind for kind in kinds if not any(a.kind == kind and a.ok for a in seen)]
        if silent or failed:
            why = f"{failed[0].kind}: {failed[0].outcome}" if failed else f"no {silent[0]} got an answer"
            raise Refused(
                f"the load fails even before the fault ({why}; {len(failed)} of {len(seen)} failed). Nothing was"
                " broken. Try a lower --rate, or check the stack: inv verify"
            )

    def broken(self) -> bool:
        """Return whether a generator died."""
        return any(generator.died for generator in self._generators)

    def deaths(self) -> list[str]:
        """Return a message for every generator that died."""
        return [generator.died for generator in self._generators if generator.died]

    def pass_until(self, moment: float) -> None:
        """Wait until a moment of the drill's clock while the load continues, or until a generator dies."""
        generators.wait(self._clock, moment, self.broken)

    def last_write(self) -> float | None:
        """Return when the last direct write was acknowledged, on the drill's clock; None if none was."""
        return self.recorder.last_ok.get(self.directly or "get")

    def await_end(self) -> None:
        """Wait for the last responses."""
        for generator in self._generators:
            generator.join(self._settings.seconds + generators.GRACE - self._clock())

    def stop(self) -> None:
        """Stop the load now."""
        for generator in self._generators:
            generator.stop()

    def tempt(self, victim: str, session: Session) -> str:
        """Try to write to an old primary, and return the result in words.

        The writes come from an app host, as from a client that knows only the old primary, and from the host itself.
        """
        stray = self._new("stray")
        try:
            self._insert(stray, Load(self._settings.drill, "stray", 5, 3), victim)
            stray.await_hello(10)
            # Fences do not block writes from the host itself; a commit there must wait for a standby that never comes.
            if self._settings.synchronous:
                self._write_there(session)
            stray.join(20)
        finally:
            stray.stop()
            self._generators.remove(stray)
        tried: list[Attempt] = [a for a in self.recorder.history() if a.kind == "stray"]
        took = sum(a.ok for a in tried)
        answers = ", ".join(sorted({a.outcome or "no answer" for a in tried if not a.ok}))
        return f"{len(tried)} writes attempted on {victim} itself; it accepted {took} ({answers})"

    def _write_there(self, session: Session) -> None:
        database = self._observer.stack.given(Database)
        assert database is not None
        keys = (1000, 1001, 1002)  # far from the keys of the other clients
        insert = f"insert into plainstack_drill.write values ('{self._settings.drill}', 'stray', $1)"  # noqa: S608 - our own time stamp
        psql = f'timeout 3 {AS_POSTGRES} {BIN}/psql -XAtqw {database.name} -c "{insert}"'
        one = shlex.quote(f'{psql} >/dev/null 2>&1 && echo $1 ok || echo $1 "not confirmed within 3 s"')
        for key in keys:
            self.recorder.feed(json.dumps(["begin", "stray", key, self._clock(), self._clock()]), 0)
        script = "".join(f"sh -c {one} sh {key} &\n" for key in keys) + "wait\n"
        for line in session.script(script, timeout=20, step="write to the old primary").out.splitlines():
            number, _, outcome = line.partition(" ")
            self.recorder.feed(json.dumps(["end", "stray", int(number), self._clock(), outcome]), 0)
