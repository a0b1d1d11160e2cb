"""Tear down hosts: ask what was there before Plainstack, and remove the rest in the reverse order of a deploy."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from threading import Event

from plainstack.dataclass import dataclass
from plainstack.deploy import lock
from plainstack.deploy.apply import UNLIMITED, Applier, longest, work_of
from plainstack.deploy.observe import Listener, Observer, View
from plainstack.deploy.operator import commit, who
from plainstack.deploy.schedule import Node, Outcome, execute
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan
from plainstack.engine.plan.author import Stamp
from plainstack.engine.role import Role, of_host
from plainstack.engine.sayings import Leftover
from plainstack.engine.teardown import before, script
from plainstack.engine.teardown.farewell import STAGE
from plainstack.engine.teardown.plan import teardown
from plainstack.engine.transaction import script as transactions
from plainstack.engine.transaction.result import AFTERWARDS
from plainstack.engine.transaction.script import Script
from plainstack.errors import HostFailed, PlainstackError
from plainstack.ssh.connections import fan_out

_REMOVED = {
    "rolled-back": "what was removed stays removed. Run the same command again",
    "half-undone": "what was removed stays removed. Fix what follows, then run the same command again",
}


def leftovers(observer: Observer, host: str) -> list[Leftover]:
    """Return what the programs of a host's roles leave there, each path once."""
    stack = observer.stack
    roles = of_host(stack.hosts[host], dict(observer.roles))
    found = [one for role in roles for one in role.leaves(stack, stack.hosts[host])]
    return list({one.path: one for one in [*found, before.AUDIT_LOG]}.values())


def plans(observer: Observer, view: View, *, data: bool) -> dict[str, HostPlan]:
    """Return the plans that remove Plainstack from the observed hosts; hosts that do not answer go to `view.failed`."""
    stamp = Stamp("", who(), "")

    def one(name: str) -> HostPlan:
        mine = leftovers(observer, name)
        answer = observer.sessions.to(name).script(before.question(mine), timeout=120, step="look for what was there")
        lines = answer.out.splitlines()
        if not before.answered(lines):
            raise HostFailed(name, "look for what was there", "failed", answer.err.splitlines()[-5:], answer.code)
        said = before.parse(lines)
        return teardown(name, observer.desired[name], view.observed[name], said, mine, stamp, data=data)

    found = fan_out(list(view.observed), one)
    view.failed |= {name: error for name, error in found.items() if isinstance(error, HostFailed)}
    return {name: plan for name, plan in found.items() if not isinstance(plan, HostFailed)}


def graph(plans: Mapping[str, HostPlan], roles: Mapping[str, Role]) -> dict[Node, set[Node]]:
    """Return every transaction with those that it waits for: a role goes when the roles that need it are gone."""
    nodes: dict[Node, set[Node]] = {}
    for plan in plans.values():
        previous: Node | None = None
        stages = [work.stage for work in plan.transactions] + ([STAGE] if plan.farewell else [])
        for stage in stages:
            node = Node(plan.host, stage)
            nodes[node] = {previous} if previous else set()
            previous = node
    lost = {Node(plan.host, work.stage) for plan in plans.values() for work in plan.transactions if work.lost}
    for name, role in roles.items():
        if not role.everywhere:
            users = {other.name for other in roles.values() if name in (*other.after, *other.follows)}
            for node in nodes.keys() - lost:
                if node.stage == name:
                    nodes[node] |= {other for other in nodes.keys() - lost if other.stage in users}
    return nodes


@dataclass
class Teardown:
    """One teardown; after `run`, `outcomes` holds the result of every stage, `warnings` what the operator must see."""

    observer: Observer
    view: View
    plans: Mapping[str, HostPlan]
    listener: Listener
    command: str
    cancelled: Event = field(default_factory=Event)
    warnings: list[str] = field(default_factory=list)
    outcomes: Sequence[Outcome] = ()

    def run(self, on_start: Callable[[Teardown], None] = lambda _: None) -> Teardown:
        """Lock the hosts, apply the plans, and release the locks; raises Refused.

        `on_start` is called before the first step, so that the caller can cancel the run.
        """
        on_start(self)
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._audit = {"who": who(), "commit": commit(self.observer.stack), "command": self.command}
        self._generations = {name: self.view.observed[name].generation for name in self.plans}
        holder = lock.holder(self._audit["who"], when, self.command)
        releases = lock.hold(self.plans, self.observer.sessions.to, holder, generations=self._generations)
        try:
            nodes = graph(self.plans, self.observer.roles)
            self.outcomes = execute(nodes, self._one, lambda *_: 0, self.cancelled, lambda *_: None)
        finally:
            for release in releases:
                release()
        return self

    def _one(self, node: Node) -> None:
        host, stage = node.host, node.stage
        begin = time.monotonic()
        error = ""
        try:
            work, limit = self._script(node)
            afterwards = AFTERWARDS | _REMOVED if stage == STAGE else AFTERWARDS
            sessions, listener = self.observer.sessions, self.listener
            applier = Applier(sessions, listener.step, listener.note, listener.progress, afterwards, self.warnings)
            seen = applier.apply(host, stage, work, limit)
            self._generations[host] = work.generation
            if seen is not None:
                _check(host, seen)
        except (PlainstackError, OSError) as failure:
            error = failure.reason if isinstance(failure, HostFailed) else str(failure)
            raise
        finally:
            self.listener.ended(host, stage, time.monotonic() - begin, error)

    def _script(self, node: Node) -> tuple[Script, int]:
        plan, planned_at = self.plans[node.host], self._generations[node.host]
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        subjects = [action.subject() for stage, action in plan.by_stage() if stage == node.stage]
        audit = {**self._audit, "role": node.stage, "actions": subjects}
        if node.stage == STAGE:
            assert plan.farewell
            probe = self.observer.probes[node.host]
            return script.farewell(plan.farewell, run_id, audit, probe, planned_at=planned_at), UNLIMITED
        work = work_of(plan, node.stage)
        return transactions.transaction(work, run_id, audit, {}, planned_at=planned_at), longest(work)  # type: ignore[arg-type]


def _check(host: str, seen: Observed) -> None:
    """Raise HostFailed if the host still has entries in its manifest after the last transaction."""
    left = [f"{role}: {entry.key}" for role, entries in seen.manifest.items() for entry in entries]
    if left or seen.leftovers:
        raise HostFailed(host, STAGE, "was torn down, but its manifest is not empty", left[:10])
