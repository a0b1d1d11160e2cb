"""Run a failover over SSH: observe the hosts, and run the steps that postgresql/failover/ decides on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from plainstack.deploy import lock
from plainstack.deploy.hurry import hurried
from plainstack.deploy.operator import commit, who
from plainstack.engine.network import Network
from plainstack.errors import HostFailed, PlainstackError
from plainstack.postgresql import hosts, observation
from plainstack.postgresql.failover import decisions, steps
from plainstack.postgresql.failover.decisions import Do, Phase, Plan, Step
from plainstack.postgresql.observation import Topology
from plainstack.postgresql.settings import Database
from plainstack.ssh.connections import Sessions

Consent = Callable[[Topology, Phase], None]
"""Called with the topology and the first phase before any step runs; raises Refused to stop the failover."""

# Seconds until a host that accepts the connection but does not answer counts as away.
ANSWER_WITHIN = 6.0


@dataclass(frozen=True)
class Done:
    """A completed step: its times in seconds since the epoch, and the reason if it failed."""

    step: Step
    begin: float
    end: float
    error: str = ""


@dataclass(frozen=True)
class Event:
    """The start of a step (`done` is None) or its end; `at` is in seconds since the Cluster was created."""

    at: float
    step: Step
    done: Done | None = None


class Cluster:
    """Observes the database cluster of a stack and acts on it; use it in a `with` statement."""

    def __init__(
        self,
        network: Network,
        command: str,
        report: Callable[[Event], None] = lambda _: None,
        *,
        in_drill: bool = False,
    ) -> None:
        self.stack = stack = network.stack
        self.command = command
        self.log: list[Done] = []
        self.began = time.monotonic()
        self._report = report
        self._in_drill = in_drill
        self._sessions = Sessions(hurried(stack))
        self._databases = hosts.databases(stack)
        self._users = hosts.clients(network)
        self._site = hosts.entrances(stack)[:1] if steps.asks_site(stack) else []
        # Hosts that did not answer, with the reason. They are left out until the next `observe`, because every attempt
        # costs a timeout.
        self._away: dict[str, str] = {}
        self._fences: dict[str, frozenset[str] | None] = {}
        self._answering: dict[str, frozenset[str]] = {name: frozenset() for name in self._databases}
        self._seen = False

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._sessions.__exit__()

    def why(self, name: str) -> str:
        """Return why a host could not be reached; "" if it was reached or has not been tried."""
        return self._away.get(name, "")

    def observe(self) -> Topology:
        """Return the state of all db hosts, and which of them each client host of the database fences off."""
        self._away.clear()
        self._fences.clear()
        self._seen = False
        return self._look()

    def switchover(self, target: str = "") -> Topology:
        """Make another db host the primary.

        This and the actions below return the new topology, and raise Refused or HostFailed. For what each does, see
        postgresql/failover/.
        """
        return self._run(lambda now: decisions.switchover(now, target))

    def promote(self, target: str = "", consent: Consent | None = None) -> Topology:
        return self._run(lambda now: decisions.promote(now, target), consent)

    def rejoin(self, host: str = "", *, discard: bool = False) -> Topology:
        return self._run(lambda now: decisions.rejoin(now, host, discard=discard))

    def degrade(self, consent: Consent | None = None) -> Topology:
        return self._run(decisions.degrade, consent)

    def resync(self) -> Topology:
        return self._run(decisions.resync)

    def _run(self, decide: Callable[[Topology], Plan], consent: Consent | None = None) -> Topology:
        now = self.observe()
        if consent:
            consent(now, next(decide(now), ()))
        releases = self._lock()
        try:
            # Observe again: another run may have made changes before this one held the locks.
            if consent:
                now = self.observe()
            else:
                self._fences.clear()
                now = self._look()
            plan = decide(now)
            phase = next(plan, None)
            while phase is not None:
                self._do(phase)
                now = self._look()
                try:
                    phase = plan.send(now)
                except StopIteration:
                    phase = None
        finally:
            for release in releases:
                release()
        return now

    def _look(self) -> Topology:
        # Testing whether the db hosts reach each other takes a second if they do not. Only the first decision needs it.
        peers = [] if self._seen else self._databases
        self._seen = True
        facts = self._ask(
            {name: observation.script([peer for peer in peers if peer != name]) for name in self._databases}
        )
        nodes = {name: observation.observed(name, facts[name]) for name in self._databases}
        if peers:
            self._answering = {name: node.answering for name, node in nodes.items()}
        unknown = [name for name in self._users if name not in self._fences]
        answers = self._ask({name: observation.fences_script() for name in unknown})
        for name in unknown:
            answer = answers[name]
            self._fences[name] = None if answer is None else observation.named(answer, "fence.")
        database = self.stack.given(Database)
        barman = hosts.barman_hosts(self.stack)
        return Topology(
            nodes={name: replace(node, answering=self._answering[name]) for name, node in nodes.items()},
            clients=dict(self._fences),
            synchronous=database is not None and database.synchronous and len(self._databases) > 1,
            barman=steps.RECEIVER if barman else "",
            backup_hosts=tuple(name for name in barman if name not in self._away),
            site_from=tuple(self._site),
        )

    def _ask(self, scripts: Mapping[str, str]) -> dict[str, dict[str, str] | None]:
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
                self._away[name] = error.reason if isinstance(error, HostFailed) else str(error)
                self._sessions.forget(name)

        threads = {
            name: threading.Thread(target=one, args=(name,), daemon=True) for name in scripts if name not in self._away
        }
        for thread in threads.values():
            thread.start()
        deadline = time.monotonic() + ANSWER_WITHIN
        for name, thread in threads.items():
            thread.join(max(0, deadline - time.monotonic()))
            if thread.is_alive():
                self._away[name] = f"no answer within {ANSWER_WITHIN:.0f} s"
        return {name: None if name in self._away else answer for name, answer in answers.items()}

    def _lock(self) -> list[lock.Release]:
        names = [name for name in (*self._databases, *self._users) if name not in self._away]
        holder = lock.holder(who(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), self.command)
        return lock.hold(names, self._sessions.to, holder, lock.IN_DRILL if self._in_drill else lock.RUN)

    def _do(self, phase: Phase) -> None:
        with ThreadPoolExecutor(max_workers=len(phase)) as pool:
            done = list(pool.map(self._step, phase))
        self.log += done
        for step in phase:
            if step.do in (Do.FENCE, Do.UNFENCE):
                self._fences.pop(step.host, None)
        failed = [one for one in done if one.error and not one.step.optional]
        if failed:
            raise HostFailed(failed[0].step.host, failed[0].step.says, failed[0].error)

    def _step(self, step: Step) -> Done:
        self._report(Event(time.monotonic() - self.began, step))
        begin = time.time()
        error = ""
        text = steps.script(self.stack, step, who(), self._commit(), self.command)
        try:
            output = self._sessions.to(step.host).script(text, timeout=steps.seconds(step), step=step.says)
            if output.code != 0:
                error = "; ".join(_last(output.err.splitlines() or output.out.splitlines())) or f"exit {output.code}"
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


def _last(lines: Iterable[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()][-6:]
