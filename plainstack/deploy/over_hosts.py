"""Roles can refuse a deploy because of facts about any of their hosts, including those that --host leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from plainstack.engine.role import Answers, Role, hosts_of
from plainstack.engine.role_functions import Refusals

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer, View


def refusals(observer: Observer, view: View, deployed: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield why roles in scope refuse the deploy; skip roles without a host in --host.

    `deployed` holds the roles that the command deploys to each host that it has reached.
    """
    asked: dict[Refusals, list[Role]] = {}
    for role in observer.roles.values():
        if role.refusals:
            asked.setdefault(role.refusals, []).append(role)
    for function, roles in asked.items():
        in_scope = [role for role in roles if observer.scope is None or role.name in observer.scope]
        if any(host.name in observer.hosts for role in in_scope for host in hosts_of(observer.stack, role)):
            yield from function(observer.stack, _Answers(observer, view, roles), deployed)


class _Answers(Mapping[str, Mapping[str, str] | None]):
    """The facts of the hosts of roles; those that --host leaves out are asked when a fact is first read."""

    def __init__(self, observer: Observer, view: View, roles: Sequence[Role]) -> None:
        self._observer, self._view, self._roles = observer, view, roles

    @cached_property
    def _all(self) -> Answers:
        stack, chosen = self._observer.stack, self._observer.hosts
        parts: dict[str, list[str]] = {}
        for role in self._roles:
            for host in hosts_of(stack, role):
                parts.setdefault(host.name, []).append(role.facts(stack, host))
        snippets = {name: "\n".join(each) for name, each in parts.items()}
        left_out = {name: snippet for name, snippet in snippets.items() if name not in chosen}
        observed = self._view.observed
        seen = {name: observed[name].facts if name in observed else None for name in snippets}
        return {**seen, **self._observer.ask(left_out)}

    def __getitem__(self, name: str) -> Mapping[str, str] | None:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
