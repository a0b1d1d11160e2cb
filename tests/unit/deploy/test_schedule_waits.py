"""How long a stage waits until peers use the hosts that changed before it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from plainstack.deploy import schedule
from plainstack.deploy.schedule import Node, execute, settle, unseen
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Transaction, UnitAction, UnitVerb
from plainstack.engine.resources import Unit
from plainstack.engine.role import Role, Settle
from plainstack.services.rolling import taken_again
from tests.unit.deploy.test_schedule import Nodes


def test_peers_get_time_to_notice_the_previous_host_and_ctrl_c_ends_the_wait() -> None:
    first, second = Node("a", "app"), Node("b", "app")
    nodes: Nodes = {first: set(), second: {first}}
    cancelled, waits = threading.Event(), list[tuple[Node, list[Node]]]()

    def wait_for(node: Node, others: Mapping[Node, float]) -> None:
        waits.append((node, list(others)))
        cancelled.set()

    outcomes = execute(nodes, lambda _: None, lambda *_: 60, cancelled, wait_for)
    assert waits == [(second, [first])]
    assert [outcome.skipped for outcome in outcomes] == ["", "interrupted"]


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [
        ("restart", "restart", 6),
        ("start", "restart", 6),
        ("restart", "start", 0),
        ("start", "start", 0),
        ("restart", "reload", 0),
        ("reload", "restart", 0),
        ("restart", None, 6),
        ("reload", None, 0),
    ],
)
def test_a_host_goes_down_only_when_the_host_that_came_up_before_it_is_in_use_again(
    registry: Mapping[str, Role], first: UnitVerb, second: UnitVerb | None, seconds: int
) -> None:
    assert registry["app"].settle == Settle(6, "wait until the balancers use the previous host again", taken_again)
    plans = {
        host: HostPlan(host, None, (Transaction("app", (UnitAction(verb, Unit(name="web"), "changed", ""),)),))
        for host, verb in (("a", first), ("b", second or "restart"))
    }
    node = Node("b", "app") if second else None
    assert settle(plans, registry, Node("a", "app"), node) == seconds


@pytest.mark.parametrize(
    ("up_for", "verb", "wait"),
    [
        ({"web": 1.5}, "restart", {Node("b", "app"): {Node("a", "app"): 4.5}}),
        ({"web": 600.0}, "restart", {}),
        ({"other": 1.5}, "restart", {}),
        ({"web": 1.5}, "start", {}),
        ({}, "restart", {}),
    ],
)
def test_a_host_that_came_up_just_before_a_run_is_seen_up_before_its_peer_goes_down(
    registry: Mapping[str, Role], up_for: Mapping[str, float], verb: UnitVerb, wait: Mapping[Node, Mapping[Node, float]]
) -> None:
    plans = {"b": HostPlan("b", None, (Transaction("app", (UnitAction(verb, Unit(name="web"), "changed", ""),)),))}
    desired = {host: {"app": [Unit(name="web")], "base": [Unit(name="other")]} for host in "ab"}
    observed = {"a": Observed(up_for=up_for), "b": Observed(up_for={"web": 0.5})}
    assert unseen(plans, registry, desired, observed) == wait


def test_a_stage_starts_no_sooner_than_its_earliest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: 0.0))
    node, waits = Node("b", "app"), list[Mapping[Node, float]]()
    cancelled = threading.Event()

    def wait_for(_node: Node, others: Mapping[Node, float]) -> None:
        waits.append(others)
        cancelled.set()

    earlier = {Node("a", "app"): 60.0}
    (outcome,) = execute({node: set()}, lambda _: None, lambda *_: 0, cancelled, wait_for, {node: earlier})
    assert waits == [earlier]
    assert outcome.skipped == "interrupted"
