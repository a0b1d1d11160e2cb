"""Refusals that depend on all hosts of a role: which roles are asked, and when also hosts that --host leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from plainstack.deploy import over_hosts
from plainstack.engine.role import Answers, Role
from plainstack.inventory.stack import Stack


def found(
    stack: Stack, *, hosts: tuple[str, ...], scope: tuple[str, ...] | None = None, reads: bool = True
) -> tuple[list[str], list[str]]:
    """Return the refusals for these hosts, and the hosts that were asked; app1 answers only if it is among them."""

    def refusals(_stack: Stack, answers: Answers, deployed: Mapping[str, Collection[str]]) -> Iterator[str]:
        yield f"{dict(sorted(answers.items())) if reads else ''} {sorted(deployed)}"

    asked: list[str] = []

    def ask(snippets: Mapping[str, str]) -> Answers:
        asked.extend(snippets)
        return {name: {"told": snippet} for name, snippet in snippets.items()}

    roles = {
        name: Role(name=name, desired=lambda *_: (), facts=lambda _stack, host: f"ask {host.name}", refusals=refusals)
        for name in ("app", "db")
    }
    observed = {name: SimpleNamespace(facts={"seen": name}) for name in hosts if name != "db1"}
    observer: Any = SimpleNamespace(stack=stack, roles=roles, hosts=hosts, scope=scope, ask=ask)
    view: Any = SimpleNamespace(observed=observed)
    return list(over_hosts.refusals(observer, view, dict.fromkeys(observed, ()))), asked


def test_roles_with_one_function_are_asked_together_and_a_silent_host_has_no_facts(stack: Stack) -> None:
    sentences, asked = found(stack, hosts=("app1", "app2", "db1", "db2"))
    facts = {"app1": {"seen": "app1"}, "app2": {"seen": "app2"}, "db1": None, "db2": {"seen": "db2"}}
    assert sentences == [f"{facts} ['app1', 'app2', 'db2']"]
    assert asked == []


def test_a_host_that_is_left_out_is_asked_only_if_its_facts_matter(stack: Stack) -> None:
    sentences, asked = found(stack, hosts=("app1",))
    assert asked == ["app2", "db1", "db2"]
    assert "'app2': {'told': 'ask app2'}" in sentences[0]
    assert found(stack, hosts=("app1",), reads=False)[1] == []


def test_roles_out_of_scope_and_hosts_without_the_role_refuse_nothing(stack: Stack) -> None:
    assert found(stack, hosts=("app1",), scope=("base",)) == ([], [])
    assert found(stack, hosts=("lb1",)) == ([], [])
    assert found(stack, hosts=("app1",), scope=("db",)) == ([], [])
