"""Run a failover over SSH: observe the hosts, and run the steps that postgresql/failover/ decides on."""

from __future__ import annotations

from collections.abc import Callable

from plainstack.deploy import lock
from plainstack.deploy.phased_run import PhasedRun
from plainstack.deploy.step_runner import Event
from plainstack.engine.network import Network
from plainstack.postgresql.failover import decisions, steps
from plainstack.postgresql.failover.decisions import Phase, Plan, Step
from plainstack.postgresql.failover.phases import no_restore
from plainstack.postgresql.observation import Topology
from plainstack.postgresql.step_frame import Origin

Consent = Callable[[Topology, Phase], None]
"""Called with the topology and the first phase before any step runs; raises Refused to stop the failover."""


class Cluster(PhasedRun[Step, Topology]):
    """Observes the database cluster of a stack and acts on it; use it in a `with` statement."""

    def __init__(
        self,
        network: Network,
        command: str,
        report: Callable[[Event], None] = lambda _: None,
        *,
        in_drill: bool = False,
    ) -> None:
        super().__init__(network, command, report, lock.IN_DRILL if in_drill else lock.RUN)

    def why(self, name: str) -> str:
        """Return why a host could not be reached; "" if it was reached or has not been tried."""
        return self._runner.away.get(name, "")

    def observe(self) -> Topology:
        """Return the state of all db hosts, and which of them each client host of the database fences off."""
        return self._lookout.observe()

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
        no_restore(now)
        if consent:
            consent(now, next(decide(now), ()))
        releases = self._runner.lock((*self._lookout.databases, *self._lookout.clients))
        try:
            # Observe again: another run may have made changes before this one held the locks.
            if consent:
                now = self.observe()
            else:
                self._lookout.forget_fences(self._lookout.clients)
                now = self._look()
            no_restore(now)
            now = self._follow(decide(now), now)
        finally:
            for release in releases:
                release()
        return now

    def _look(self) -> Topology:
        return self._lookout.look()

    def _script(self, step: Step, origin: Origin) -> tuple[str, float]:
        return steps.script(self.stack, step, *origin), steps.seconds(step)
