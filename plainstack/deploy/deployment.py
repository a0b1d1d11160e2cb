"""One deploy, from taking the locks to the last probe."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from threading import Event
from typing import ClassVar

from plainstack.dataclass import dataclass
from plainstack.deploy import conclusions, errands, lock, peers
from plainstack.deploy.apply import Applier, build, longest, work_of
from plainstack.deploy.fetching import Fetching
from plainstack.deploy.observe import Listener, Observer, View
from plainstack.deploy.operator import commit, who
from plainstack.deploy.schedule import Node, execute, graph, leaving, settle, unseen
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Run, Transaction
from plainstack.engine.plan.planner import Stamp
from plainstack.engine.role import Errand
from plainstack.engine.transaction.result import AFTERWARDS
from plainstack.errors import HostFailed, PlainstackError, Refused, Untouched
from plainstack.services.wheels import architecture, resolve, unfetched


def deploy(
    observer: Observer,
    view: View,
    listener: Listener,
    command: str,
    on_start: Callable[[Deployment], None] = lambda _: None,
) -> Deployment:
    """Apply every pending plan.

    `on_start` is called with the deployment before its first step, so that the caller can cancel it. Raises Refused,
    before any host is changed, if the deploy must not or cannot be done.
    """
    refusals = [
        *conclusions.refusals(observer, view),
        *unfetched(view.pending, view.observed, observer.stack.state / "wheels", listener.note),
    ]
    if refusals:
        raise Refused("\n".join(refusals))
    observer.secrets.keep(listener.note)
    deployment = Deployment(observer, view, listener, command)
    on_start(deployment)
    return deployment.run()


@dataclass
class Deployment:
    """One deploy; after `run`, `outcomes` holds the result of every stage, `warnings` what the operator must see."""

    observer: Observer
    view: View
    listener: Listener
    command: str
    cancelled: Event = field(default_factory=Event)
    warnings: list[str] = field(default_factory=list)
    fetching: Fetching = field(default_factory=Fetching)

    afterwards: ClassVar[Mapping[str, str]] = AFTERWARDS

    def run(self) -> Deployment:
        """Lock the hosts, apply the plans, and release the locks; raises Refused or HostFailed."""
        stamp = self._stamp()
        self.generations = {name: self.view.observed[name].generation for name in self.view.pending}
        before = self._errands()
        releases = self._lock(stamp, [errand.host for errand in before])
        try:
            for errand in before:
                self.listener.note(f"{errand.host}: {errand.says}")
            self.generations |= errands.do(self.observer, before, stamp.who, stamp.commit, self.command)
            observer = self.observer
            self.plans = {name: self._plan(name, stamp) for name in self.view.pending}
            self.nodes = graph(self.view.stack, self.plans, observer.roles, self.view.observed)

            def work(node: Node) -> None:
                self._one(node, stamp)

            def pause(before: Node, node: Node) -> int:
                return settle(self.plans, observer.roles, before, node)

            def waiting(node: Node, others: Mapping[Node, float]) -> None:
                settle = observer.roles[node.stage].settle
                assert settle is not None, "only roles with a settle time wait"
                # The rest of a wait that an earlier run left is often over at once.
                if (longest := max(others.values())) >= 1:
                    self.listener.step(node.host, node.stage, f"{settle.why} (at most {longest:.0f} s)")
                peers.see(observer, self.view, others, self.cancelled)

            began = time.monotonic()
            before_us = unseen(self.plans, observer.roles, observer.desired, self.view.observed)
            self.outcomes = execute(self.nodes, work, pause, self.cancelled, waiting, before_us)
            self._let_peers_see(began)
        finally:
            for release in releases:
                release()
        return self

    def _errands(self) -> Sequence[Errand]:
        return errands.wanted(self.observer, self.view)

    def _plan(self, name: str, stamp: Stamp) -> HostPlan:
        return self.observer.plan_of(name, self.view.observed[name], stamp)

    def _let_peers_see(self, began: float) -> None:
        """Wait until peers use the last changed host again, because the next deploy may take down another one first."""
        now = time.monotonic() - began
        left = {
            outcome.node: outcome.end + settle(self.plans, self.observer.roles, outcome.node) - now
            for outcome in self.outcomes
            if not outcome.skipped
            and not isinstance(outcome.error, Untouched)
            and len(self.observer.stack.with_role(outcome.node.stage)) > 1
        }
        waits = {node: seconds for node, seconds in left.items() if seconds > 0}
        if waits:
            last = max(waits, key=waits.__getitem__)
            self.listener.note(f"{last.host}: waiting until its peers use it again (at most {waits[last]:.0f} s)")
            # Wait even after Ctrl-C. If --host limits the next run to another host, that run does not probe this one,
            # so it cannot know that it must wait.
            peers.see(self.observer, self.view, waits, Event())

    def _stamp(self) -> Stamp:
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Stamp(when, who(), commit(self.observer.stack), self.observer.vault.version)

    def _lock(self, stamp: Stamp, more: Sequence[str]) -> list[Callable[[], None]]:
        """Lock all hosts that will change, or none."""
        holder = lock.holder(stamp.who, stamp.when, self.command)
        return lock.hold({*self.view.pending, *more}, self.observer.sessions.to, holder, generations=self.generations)

    def _one(self, node: Node, stamp: Stamp) -> None:
        host, stage = node.host, node.stage
        begin = time.monotonic()
        error = ""
        try:
            self._await_another(node)
            payloads = self._payloads(host, stage)
            run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
            audit = {"who": stamp.who, "commit": stamp.commit, "command": self.command}
            probe = self.observer.probes[host]
            work = build(self.plans[host], stage, run_id, audit, payloads, probe, self.generations[host])
            limit = longest(work_of(self.plans[host], stage))
            sessions, listener = self.observer.sessions, self.listener
            applier = Applier(sessions, listener.step, listener.note, listener.progress, self.afterwards, self.warnings)
            seen = applier.apply(host, stage, work, limit)
            self.generations[host] = work.generation
            if seen is not None:
                self._check(host, stage, seen)
        except (PlainstackError, OSError) as failure:
            error = failure.reason if isinstance(failure, HostFailed) else str(failure)
            raise
        finally:
            self.listener.ended(host, stage, time.monotonic() - begin, error)

    def _await_another(self, node: Node) -> None:
        """If units of the host go down, wait until its peers use another one. Raises Untouched if they use none."""
        units, together = leaving(self.nodes, self.plans, node)
        if units and node.stage in self.observer.roles and not self.observer.accept_outage:
            leaves = peers.Leaves(node, units, together | self.view.failed.keys())
            peers.await_another(self.observer, self.view, leaves, self.listener, self.cancelled)

    def _check(self, host: str, stage: str, seen: Observed) -> None:
        """Raise HostFailed if the host is not in its desired state after its last stage."""
        left = self.observer.plan_of(host, seen, Stamp("", "", ""))
        if not left.empty:
            lines = [f"{role}: {action.subject()} ({getattr(action, 'detail', '')})" for role, action in left.actions()]
            raise HostFailed(host, stage, "was applied, but the host still differs from the plan", lines[:10])

    def _payloads(self, host: str, stage: str) -> dict[str, list[tuple[str, bytes]]]:
        work = work_of(self.plans[host], stage)
        if not isinstance(work, Transaction):
            return {}
        cache = self.observer.stack.state / "wheels"

        def report(text: str) -> None:
            self.listener.step(host, stage, text)

        arch = architecture(self.view.observed[host])
        try:
            return {
                action.command.name: [
                    *resolve(action.command.payload, cache, report, arch),
                    *self.fetching.of(action.command.payload, self.observer.sessions.to, report),
                ]
                for action in work.actions
                if isinstance(action, Run) and action.command.payload
            }
        except PlainstackError as error:
            reason, *more = str(error).splitlines()
            raise HostFailed(host, stage, reason, [line.strip() for line in more]) from None
