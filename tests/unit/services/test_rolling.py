"""The groups in which application hosts change: one host first, and hosts that must change alone in their own group."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.engine.role import HostWork
from plainstack.errors import InventoryError
from plainstack.inventory.held import Stopped
from plainstack.inventory.stack import Stack
from plainstack.roles import app, worker
from plainstack.services.hooks import once_host
from plainstack.services.rolling import another_taken, groups
from tests import inventories

TEXT = """
stack: small
hosts:
  a1: {address: 10.0.0.1, roles: [app, db]}
  a2: {address: 10.0.0.2, roles: [app]}
  a3: {address: 10.0.0.3, roles: [app]}
  a4: {address: 10.0.0.4, roles: [app]}
  a5: {address: 10.0.0.5, roles: [app]}
  w1: {address: 10.0.0.6, roles: [worker]}
  w2: {address: 10.0.0.7, roles: [worker]}
  w3: {address: 10.0.0.8, roles: [worker]}
database: {name: shop}
services:
  web: {source: ., project: site_, SERVICE}
"""
APPS, WORKERS = ("a1", "a2", "a3", "a4", "a5"), ("w1", "w2", "w3")
AFTER = "after: {tell: {command: tell, once: true}}"
NOTHING = HostWork(frozenset(), frozenset(), {})


def _stack(rolling: str = "", service: str = "workers: 2") -> Stack:
    return inventories.parse(TEXT.replace("SERVICE", service) + rolling, "test.yaml", Path())


@pytest.mark.parametrize(
    ("rolling", "service", "expected"),
    [
        ("", "workers: 2", "a1 | a2 | a3 | a4 | a5"),
        ("rolling: {at_once: 2}", "workers: 2", "a1 | a2 a3 | a4 a5"),
        ("rolling: {at_once: 5}", "workers: 2", "a1 | a2 a3 a4 a5"),
        ("rolling: {canary: a3}", "workers: 2", "a3 | a1 | a2 | a4 | a5"),
        ("rolling: {canary: a3, at_once: 3}", "workers: 2", "a3 | a1 a2 a4 | a5"),
        # The hook says that all hosts have started the release.
        ("rolling: {at_once: 5}", AFTER, "a1 | a2 a3 a4 | a5"),
        ("rolling: {canary: a5, at_once: 5}", AFTER, "a5 | a1 a2 a3 | a4"),
    ],
)
def test_the_first_host_changes_alone_and_the_others_in_groups(rolling: str, service: str, expected: str) -> None:
    stack = _stack(rolling, service)
    found = app.turns(stack, dict.fromkeys(APPS, NOTHING))
    assert " | ".join(" ".join(group) for group in found) == expected
    assert once_host(stack, "web", "before").name == expected.split()[0]
    assert once_host(stack, "web", "after").name == expected.split()[-1]


def test_workers_change_together_unless_one_migrates_the_database_or_ends_the_release() -> None:
    work = dict.fromkeys(WORKERS, NOTHING)
    assert worker.turns(_stack(), work) == [["w1", "w2", "w3"]]
    assert worker.turns(_stack(service=f"hosts: worker, {AFTER}"), work) == [["w1"], ["w2"], ["w3"]]


def test_hosts_of_different_services_may_change_at_the_same_time() -> None:
    other = "  api: {kind: binary, source: ., hosts: [a4, a5], processes: {web: {command: api}}}\n"
    assert groups(_stack(other, "hosts: [a1, a2]"), APPS, 5) == [["a1"], ["a2", "a3", "a4"], ["a5"]]


@pytest.mark.parametrize(
    ("rolling", "reported"),
    [
        ("{at_once: 0}", "rolling.at_once: "),
        ("{at_once: 6}", "rolling.at_once: 6 are too many: 5 hosts have the role app"),
        ("{canary: w1}", "rolling.canary: w1 is no host with the role app"),
        ("{canary: a55}", "did you mean 'a5'"),
        ("{canery: a1}", "did you mean 'canary'"),
    ],
)
def test_an_impossible_value_is_an_error_with_its_line(rolling: str, reported: str) -> None:
    with pytest.raises(InventoryError) as raised:
        _stack(f"rolling: {rolling}\n")
    (problem,) = raised.value.problems
    assert reported in problem
    assert problem.startswith("test.yaml:15: ")


BALANCED = "  lb1: {address: 10.0.0.9, public: 10.1.0.9, roles: [balancer]}\ndatabase:"
STOPPED = Stopped(at="2026-01-01T00:00:00Z", who="me", items=("web,a2,2026-01-01T00:00:00Z,me",))


@pytest.mark.parametrize(
    ("service", "units", "absent", "asked"),
    [
        ("workers: 2", ["plainstack-web.service"], (), "spare a1 web"),
        ("workers: 2", ["plainstack-web.service"], ("a3", "a2"), "spare a1,a2,a3 web"),
        # Nothing that balancers use goes down.
        ("workers: 2", ["plainstack-web-beat.service"], (), ""),
        # No other host should serve it.
        ("hosts: [a1]", ["plainstack-web.service"], (), ""),
        ("hosts: [a1, a3]", ["plainstack-web.service"], ("a3",), ""),
        ("hosts: [a1, a2]", ["plainstack-web.service"], (), ""),
    ],
)
def test_balancers_are_asked_about_the_services_that_go_down_and_have_other_hosts(
    service: str, units: list[str], absent: tuple[str, ...], asked: str
) -> None:
    text = TEXT.replace("database:", BALANCED).replace("SERVICE", service)
    stack = inventories.parse(text, "test.yaml", Path())
    # On a2, a person has stopped the service.
    held = stack.held.model_copy(update={"stopped": {"web": STOPPED}})
    stack = stack.model_copy(update={"held": held})
    found = another_taken(stack, stack.hosts["a1"], units, absent)
    assert found == ({"lb1": f"/etc/plainstack/balancer/upstreams {asked}"} if asked else {})
