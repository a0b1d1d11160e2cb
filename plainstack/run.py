"""The loop: observe, plan, lock, apply in waves, and see that nothing is left to do."""

from __future__ import annotations

import getpass
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Protocol

from plainstack.actions import HostPlan, Run, Transaction
from plainstack.desired import HostDesired
from plainstack.errors import HostFailed, PlainstackError, Refused
from plainstack.observed import Observed
from plainstack.plan import Stamp, plan
from plainstack.probe import parse
from plainstack.session import Session
from plainstack.ssh import Sessions
from plainstack.stack import Stack

GUARD_WAIT = 60


class Listener(Protocol):
    """What a run tells while it works."""

    def step(self, host: str, stage: str, step: str, /) -> None:
        """A step of a stage begins on a host."""

    def ended(self, host: str, stage: str, seconds: float, error: str, /) -> None:
        """A stage ended on a host; `error` is empty when it went well."""

    def note(self, text: str, /) -> None:
        """Something a person should know that belongs to no step."""


@dataclass
class View:
    """What is known after observing: every host's plan, or why it could not be made."""

    plans: dict[str, HostPlan] = field(default_factory=dict)
    observed: dict[str, Observed] = field(default_factory=dict)
    failed: dict[str, HostFailed] = field(default_factory=dict)

    @property
    def pending(self) -> dict[str, HostPlan]:
        """The plans that are not empty."""
        return {name: plan for name, plan in self.plans.items() if not plan.empty}


class Runner:
    """One command's view of a stack; opens connections when it is entered and closes them when left."""

    def __init__(self, stack: Stack, roles: tuple[str, ...], hosts: tuple[str, ...]) -> None:
        self.stack = stack
        self.hosts = hosts
        self.chosen = roles
        self.new_secrets = False
        self.sessions = Sessions(stack)
        self._pool = ThreadPoolExecutor(max_workers=max(8, len(hosts)))
        # Connecting takes most of the time of a run that changes nothing; it goes on while we render.
        self._connecting: dict[str, Future[Session]] = {
            name: self._pool.submit(self.sessions.to, name) for name in hosts
        }
        self.notes: list[str] = []
        self.desired: dict[str, HostDesired] = {}
        self.probes: dict[str, str] = {}
        self._load()

    def _load(self) -> None:
        from plainstack import desired, vault_store
        from plainstack.roles import registry

        self.roles = registry()
        names = [name for role in self.roles.values() for name in role.passwords]
        self.vault = vault_store.load(self.stack, names, datetime.now(UTC), self.notes.append)
        self.scope = desired.scope(self.roles, self.chosen)

    def render(self, ready: Callable[[str], None] = lambda _: None) -> None:
        """Fill `desired` and `probes`; `ready` hears of every host as soon as it is done. Raises InventoryError."""
        from plainstack import desired

        for name, wanted in desired.one_by_one(self.stack, self.vault, self.roles, self.hosts):
            self.desired[name] = wanted
            self.probes[name] = desired.probe_script(self.stack, self.stack.hosts[name], wanted, self.roles)
            ready(name)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.sessions.__exit__()

    def observe(self, listener: Listener | None = None) -> View:
        """Probe every host at once: one connection and one exec each."""
        view = View()
        while listener and self.notes:
            listener.note(self.notes.pop(0))
        futures: dict[str, Future[tuple[Observed, HostPlan]]] = {}

        def look(name: str) -> None:
            futures[name] = self._pool.submit(self._look, name, listener)

        if self.desired:
            for name in self.hosts:
                look(name)
        else:
            # The first hosts are probed while the others' templates are rendered.
            self.render(look)
        for name, future in futures.items():
            try:
                view.observed[name], view.plans[name] = future.result()
            except HostFailed as error:
                view.failed[name] = error
        return view

    def _look(self, name: str, listener: Listener | None) -> tuple[Observed, HostPlan]:
        seen = self._probe(name, listener)
        return seen, plan(name, self.desired[name], seen, Stamp("", "", ""), self.scope)

    def _probe(self, name: str, listener: Listener | None) -> Observed:
        session = self._connecting[name].result()
        give_up = time.monotonic() + GUARD_WAIT
        while True:
            output = session.script(self.probes[name], timeout=60, step="probe")
            if output.code != 0 and not output.out:
                raise HostFailed(name, "probe", "failed", output.err.splitlines()[-5:], output.code)
            try:
                seen = parse(output.out)
            except PlainstackError as error:
                raise HostFailed(name, "probe", str(error), output.err.splitlines()[-5:], output.code) from None
            if not seen.guard_pending or time.monotonic() > give_up:
                return seen
            if listener:
                listener.note(f"{name}: waiting for the host to undo an unconfirmed change")
            # The host's own timer decides; asking once a second is how it is awaited.
            Event().wait(1)

    def refusals(self, view: View) -> list[str]:
        """What must not be deployed because of what several hosts together look like."""
        from plainstack import foreign

        others = [] if self.new_secrets else foreign.refusals(self.desired, view.observed)
        return [*others, *self._database_refusals(view)]

    def _database_refusals(self, view: View) -> list[str]:
        from plainstack.database.preflight import refusals

        if self.scope is not None and "db" not in self.scope and not {"backup", "app"} & set(self.scope):
            return []
        names = [host.name for host in self.stack.with_role("db") if host.name in self.hosts]
        if not names:
            return []
        others = [host.name for host in self.stack.with_role("db") if host.name not in self.hosts]
        facts: dict[str, Mapping[str, str] | None] = {
            name: view.observed[name].facts if name in view.observed else None for name in names
        }
        return list(refusals(self.stack, {**facts, **self._facts_of(others)}))

    def _facts_of(self, names: list[str]) -> dict[str, Mapping[str, str] | None]:
        """The database facts of hosts that --host left out: who is primary is a question to all."""
        from plainstack.probe import script
        from plainstack.ssh import fan_out

        def ask(name: str) -> Mapping[str, str]:
            facts = self.roles["db"].facts(self.stack, self.stack.hosts[name])
            return parse(self.sessions.to(name).script(script((), [facts]), step="probe").out).facts

        return {name: None if isinstance(seen, HostFailed) else seen for name, seen in fan_out(names, ask).items()}

    def deploy(
        self, view: View, listener: Listener, command: str, on_start: Callable[[Deployment], None] = lambda _: None
    ) -> Deployment:
        """Apply every pending plan; raises Refused before anything is changed when somebody else is at it.

        `on_start` gets the deployment before its first step, to be able to cancel it.
        """
        refusals = self.refusals(view)
        if refusals:
            raise Refused("\n".join(refusals))
        deployment = Deployment(self, view, listener, command)
        on_start(deployment)
        return deployment.run()


@dataclass
class Deployment:
    """One deploy from lock to last probe; `outcomes` tells how every stage ended."""

    runner: Runner
    view: View
    listener: Listener
    command: str
    cancelled: Event = field(default_factory=Event)
    not_empty: dict[str, HostFailed] = field(default_factory=dict)

    def run(self) -> Deployment:
        """Lock, apply, unlock."""
        from plainstack.schedule import Node, execute, graph

        stamp = self._stamp()
        releases = self._lock(stamp)
        try:
            runner = self.runner
            self.plans = {
                name: plan(name, runner.desired[name], self.view.observed[name], stamp, runner.scope)
                for name in self.view.pending
            }
            self.nodes = graph(self.plans, runner.roles)

            def work(node: Node) -> None:
                self._one(node.host, node.stage, stamp)

            def settle(node: Node) -> int:
                role = runner.roles.get(node.stage)
                return role.settle if role else 0

            def waiting(node: Node, why: str) -> None:
                self.listener.step(node.host, node.stage, why)

            self.outcomes = execute(self.nodes, work, settle, self.cancelled, waiting)
        finally:
            for release in releases:
                release()
        return self

    def _stamp(self) -> Stamp:
        return Stamp(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), who(), commit(self.runner.stack))

    def _lock(self, stamp: Stamp) -> list[Callable[[], None]]:
        """Hold the lock of every host that will change, all or none."""
        from plainstack import lock

        told = lock.holder(stamp.who, stamp.when, self.command)
        generations = {name: self.view.observed[name].generation for name in self.view.pending}
        return lock.hold(self.view.pending, self.runner.sessions.to, told, generations=generations)

    def _one(self, host: str, stage: str, stamp: Stamp) -> None:
        from plainstack.apply import Applier, build

        begin = time.monotonic()
        error = ""
        try:
            payloads = self._payloads(host, stage)
            run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
            audit = {"who": stamp.who, "commit": stamp.commit, "command": self.command}
            work = build(self.plans[host], stage, run_id, audit, payloads, self.runner.probes[host])
            seen = Applier(self.runner.sessions, self.listener.step).apply(host, stage, work)
            if seen is not None:
                self._must_be_empty(host, stage, seen)
        except HostFailed as failure:
            error = failure.reason
            raise
        finally:
            self.listener.ended(host, stage, time.monotonic() - begin, error)

    def _must_be_empty(self, host: str, stage: str, seen: Observed) -> None:
        left = plan(host, self.runner.desired[host], seen, Stamp("", "", ""), self.runner.scope)
        if not left.empty:
            lines = [f"{role}: {action.subject()} ({getattr(action, 'detail', '')})" for role, action in left.actions()]
            raise HostFailed(host, stage, "was applied, and the probe still sees things to do", lines[:10])

    def _payloads(self, host: str, stage: str) -> dict[str, list[tuple[str, bytes]]]:
        from plainstack.wheels import resolve

        work = next((item for item in self.plans[host].transactions if item.role == stage), None)
        if not isinstance(work, Transaction):
            return {}
        cache = self.runner.stack.state / "wheels"

        def report(text: str) -> None:
            self.listener.step(host, stage, text)

        arch = self.view.observed[host].facts.get("arch") or "x86_64"
        try:
            return {
                action.command.name: resolve(action.command.payload, cache, report, arch)
                for action in work.actions
                if isinstance(action, Run) and action.command.payload
            }
        except PlainstackError as error:
            reason, *more = str(error).splitlines()
            raise HostFailed(host, stage, reason, [line.strip() for line in more]) from None


def who() -> str:
    """The operator, as others see them in locks and logs."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def commit(stack: Stack) -> str:
    """The git commit that the inventory's folder is at, marked -dirty when the tree differs; "-" outside git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(stack.folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "-"
    return done.stdout.strip() or "-"
