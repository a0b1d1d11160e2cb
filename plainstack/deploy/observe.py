"""Observe all hosts at once: connect, render, probe and plan. deployment.py carries out the plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from plainstack.deploy.focus import Focus
from plainstack.deploy.head_start import HeadStart
from plainstack.deploy.view import Listener, View
from plainstack.engine.desired import HostDesired
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan
from plainstack.engine.plan.ahead import amid
from plainstack.engine.plan.planner import Stamp, plan
from plainstack.engine.probe import parse
from plainstack.engine.role import Answers, Role
from plainstack.engine.settled import UNDO_NOW, settled
from plainstack.errors import HostFailed, PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.ssh.connections import Sessions

__all__ = ["Listener", "Observer", "View"]

# The author of plans that are not applied.
_NOBODY = Stamp("", "", "")


class Observer:
    """Observes the hosts of a stack for one command; use it in a `with` statement, which manages the connections.

    It takes over the connections and probes of `head_start`. It writes nothing but the cache of the next head start:
    missing secrets are generated in memory, and only a deploy saves them. For a command that needs no values of
    secrets, pass `needs_values=False`: the commands that print secrets are then not run, and unset secrets are allowed.

    `stack` is the stack of the inventory; after `observe`, it includes the holds of the hosts (see Role). A command
    that changes holds sets `change`, a function that is applied to the stack. A command that deploys only a part of the
    stack sets `focus`. With `accept_outage`, hosts go down even if their peers use no other one.
    """

    def __init__(
        self,
        stack: Stack,
        roles: Mapping[str, Role],
        chosen: tuple[str, ...],
        hosts: tuple[str, ...],
        head_start: HeadStart | None = None,
        *,
        needs_values: bool = True,
    ) -> None:
        self.stack = self._declared = stack
        self.change: Callable[[Stack], Stack] | None = None
        self.focus: Focus | None = None
        self.hosts = hosts
        self.roles = roles
        self.chosen = chosen
        self.new_secrets = False
        self.accept_outage = False
        self._needs_values = needs_values
        self._head_start = head_start or HeadStart()
        self.desired: dict[str, HostDesired] = {}
        self._only: dict[str, frozenset[str]] = {}
        self.probes: dict[str, str] = {}

    def __enter__(self) -> Observer:
        from plainstack.deploy.secret_values import Elsewhere
        from plainstack.engine import desired
        from plainstack.engine.declared import needed
        from plainstack.secrets import store

        self.sessions, self._connecting = self._head_start.take(self.stack, self.hosts) or (Sessions(self.stack), {})
        self._pool = ThreadPoolExecutor(max_workers=max(8, len(self.hosts)))
        # A run that changes nothing spends most of its time connecting; it renders templates meanwhile.
        for name in self.hosts:
            if name not in self._connecting:
                self._connecting[name] = self._pool.submit(self.sessions.to, name)
        try:
            self.secrets = store.look(self.stack, needed(self.stack, self.roles), datetime.now(UTC))
            stored = self.secrets.vault
            others = Elsewhere.of(self.stack, self.roles, self.hosts, stored)
            self.vault = others.added_to(stored, self.stack) if self._needs_values else others.stood_in(stored)
            self.unset = others.unset
            self._scope = desired.scope(self.roles, self.chosen)
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def scope(self) -> tuple[str, ...] | None:
        """The roles to plan; None for all."""
        return self.focus.roles if self.focus else self._scope

    def plan_of(self, name: str, seen: Observed, stamp: Stamp) -> HostPlan:
        """Return the plan of a host within the scope and the focus of this run."""
        found = plan(name, self.desired[name], seen, stamp, self.scope, self._only.get(name))
        return amid(found, {role.name: role.amid for role in self.roles.values() if role.amid})

    def render(self, ready: Callable[[str], None] = lambda _: None) -> None:
        """Fill `desired` and `probes`; call `ready` with the name of each finished host. Raises InventoryError."""
        from plainstack.engine import desired

        without = self._without(self.stack)
        for name, wanted in desired.one_by_one(self.stack, self.vault, self.roles, self.hosts):
            self.desired[name] = wanted
            if self.focus:
                self._only[name] = self.focus.keys(wanted, without[name])
            self.probes[name] = desired.probe_script(self.stack, self.stack.hosts[name], wanted, self.roles)
            ready(name)

    def _without(self, stack: Stack) -> Mapping[str, HostDesired]:
        from plainstack.engine import desired

        return desired.assemble(self.focus.without(stack), self.vault, self.roles, self.hosts) if self.focus else {}

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.sessions.__exit__()

    def observe(self, listener: Listener | None = None, *, to_apply: bool = False) -> View:
        """Probe all hosts at once, with one connection and one exec each, and plan their changes.

        If an earlier run ended before it confirmed its change, the host undoes the change when its timer ends. With
        `to_apply`, it does so at once.
        """
        self.stack = self.change(self.stack) if self.change else self.stack
        view = View(self.stack)
        self._look_all(view, listener, to_apply=to_apply)
        self._head_start.keep(self.stack, self.probes)
        held = self._held(view.observed)
        if held != self.stack:
            # Holds change what is desired, and so what the probe must read: hosts that have holds are probed again.
            self.stack = view.stack = held
            self._look_all(view, listener, to_apply=to_apply)
        self._expand(view)
        return view

    def _look_all(self, view: View, listener: Listener | None, *, to_apply: bool) -> None:
        before = dict(self.probes) if view.observed else {}
        futures: dict[str, Future[tuple[Observed, HostPlan]]] = {}

        def look(name: str) -> None:
            if name in view.failed:
                return
            if name in view.observed and self.probes[name] == before[name]:
                view.plans[name] = self.plan_of(name, view.observed[name], _NOBODY)
            else:
                futures[name] = self._pool.submit(self._look, name, listener, to_apply)

        # The first hosts are probed while the others' templates are rendered.
        self.render(look)
        for name, future in futures.items():
            try:
                view.observed[name], view.plans[name] = future.result()
            except HostFailed as error:
                view.failed[name] = error
                view.observed.pop(name, None)
                view.plans.pop(name, None)
        while listener and self.sessions.notes:
            listener.note(self.sessions.notes.pop(0))

    def _held(self, observed: Mapping[str, Observed]) -> Stack:
        """Return the stack of the inventory with the holds of the hosts, as changed by the command."""
        stack = self._declared
        for role in self.roles.values():
            stack = role.holds(stack, observed)
        return self.change(stack) if self.change else stack

    def _expand(self, view: View) -> None:
        """Replan if hosts must serve old values beside the new ones for a while."""
        from plainstack.engine import desired, transition

        # This test is cheap, and almost always true.
        if all(role.transition(self.stack, view.observed) == self.stack for role in self.roles.values()):
            return
        whole = {name: plan(name, self.desired[name], seen, _NOBODY) for name, seen in view.observed.items()}
        view.stack = transition.expanded(self.stack, self.roles, view.observed, whole)
        if view.stack == self.stack:
            return
        self.desired = desired.assemble(view.stack, self.vault, self.roles, self.hosts)
        view.plans = {name: self.plan_of(name, seen, _NOBODY) for name, seen in view.observed.items()}

    def _look(self, name: str, listener: Listener | None, to_apply: bool) -> tuple[Observed, HostPlan]:
        seen = self._probe(name, listener, to_apply)
        return seen, self.plan_of(name, seen, _NOBODY)

    def _probe(self, name: str, listener: Listener | None, to_apply: bool) -> Observed:
        # If the first connection failed, a second `observe` opens another: a booting host refuses connections at first.
        connecting = self._connecting.pop(name, None)
        session = connecting.result() if connecting else self.sessions.to(name)

        def look() -> Observed:
            output = self._head_start.answer(name, self.probes[name])
            if output is None:
                output = session.script(self.probes[name], timeout=60, step="probe")
            if output.code != 0 and not output.out:
                raise HostFailed(name, "probe", "failed", output.err.splitlines()[-5:], output.code)
            try:
                return parse(output.out)
            except PlainstackError as error:
                raise HostFailed(name, "probe", str(error), output.err.splitlines()[-5:], output.code) from None

        def undo() -> None:
            session.script(UNDO_NOW, step="undo an unconfirmed change")

        return settled(name, look, listener.note if listener else lambda _: None, undo if to_apply else None)

    def in_scope(self) -> dict[str, HostDesired]:
        """Return the desired resources within the scope and the focus of this run, by host and role."""
        return {
            name: {
                role: [item for item in items if not self.focus or item.key in self._only[name]]
                for role, items in wanted.items()
                if self.scope is None or role in self.scope
            }
            for name, wanted in self.desired.items()
        }

    def ask(self, snippets: Mapping[str, str]) -> Answers:
        """Run a shell snippet on each host; return the key=value lines that they print. `snippets` is by host."""
        from plainstack.engine.probe import script
        from plainstack.ssh.connections import fan_out

        def one(name: str) -> Mapping[str, str]:
            return parse(self.sessions.to(name).script(script((), [snippets[name]]), step="probe").out).facts

        answers = fan_out(list(snippets), one)
        return {name: None if isinstance(seen, HostFailed) else seen for name, seen in answers.items()}
