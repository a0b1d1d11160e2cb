"""Before a host goes down, its peers are asked whether they use another one, for a limited time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from plainstack.deploy import peers, schedule
from plainstack.deploy.schedule import Node
from plainstack.engine.plan.actions import HostPlan, Transaction, UnitAction, UnitVerb
from plainstack.engine.resources import Unit
from plainstack.engine.role import Role, Spare
from plainstack.engine.sayings import NO_OTHER
from plainstack.errors import HostFailed
from tests.waiting import PATIENCE

NODE = Node("app2", "app")
LEAVES = peers.Leaves(NODE, ["web.service"], ["app3"])


def awaited(
    answer: Callable[[str], int],
    *,
    seconds: int = 0,
    failed: tuple[str, ...] = (),
    cancelled: threading.Event | None = None,
    one_is_enough: bool = False,
) -> list[str]:
    """Wait before app2 goes down; `answer` returns the exit code of lb1 or lb2. Return the reported steps."""

    def session(name: str) -> SimpleNamespace:
        return SimpleNamespace(script=lambda *_, **__: SimpleNamespace(code=answer(name), out="web: app1 is drained\n"))

    def scripts(_stack: object, _host: object, units: object, absent: object) -> Mapping[str, str]:
        assert (units, absent) == (["web.service"], ["app3"])
        return {"lb1": "ask", "lb2": "ask"}

    spare = Spare(seconds, "wait for another host", scripts, one_is_enough)
    role = Role(name="app", desired=lambda *_: (), spare=spare)
    observer: Any = SimpleNamespace(
        roles={"app": role}, stack=SimpleNamespace(hosts={"app2": None}), sessions=SimpleNamespace(to=session)
    )
    view: Any = SimpleNamespace(failed=dict.fromkeys(failed))
    steps: list[str] = []
    listener: Any = SimpleNamespace(step=lambda *words: steps.append(" ".join(words)))
    peers.await_another(observer, view, LEAVES, listener, cancelled or threading.Event())
    return steps


def test_nothing_is_waited_for_or_said_if_every_peer_uses_another_host() -> None:
    assert awaited(lambda _: 0) == []


def test_the_host_waits_until_the_last_peer_uses_another_one() -> None:
    asked: list[str] = []

    def answer(name: str) -> int:
        asked.append(name)
        return NO_OTHER if name == "lb2" and asked.count("lb2") < 3 else 0

    assert awaited(answer, seconds=int(PATIENCE)) == [f"app2 app wait for another host (at most {int(PATIENCE)} s)"]
    assert asked.count("lb2") == 3


def test_after_the_time_the_host_is_left_alone_and_the_message_says_why_and_what_to_type() -> None:
    with pytest.raises(HostFailed) as raised:
        awaited(lambda name: NO_OTHER if name == "lb1" else 0)
    assert str(raised.value).splitlines() == [
        "app2: app: nothing was changed, because no other host is in use that could answer its requests",
        "    lb1: web: app1 is drained",
        "    Repeat the command when another one is in use. To accept that requests fail: --accept-outage",
    ]


def test_if_one_peer_is_enough_the_others_do_not_matter() -> None:
    assert awaited(lambda name: NO_OTHER if name == "lb1" else 0, one_is_enough=True) == []
    with pytest.raises(HostFailed, match="lb2: web: app1 is drained"):
        awaited(lambda name: NO_OTHER if name == "lb2" else unreachable(name), one_is_enough=True)


def unreachable(name: str) -> int:
    raise HostFailed(name, "connect", "no route to host")


@pytest.mark.parametrize("answer", [unreachable, lambda _: 2, lambda _: 127])
def test_a_peer_that_cannot_tell_stops_nobody(answer: Callable[[str], int]) -> None:
    assert awaited(answer) == []


def test_a_peer_that_answers_late_is_named_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_SOON", 0)
    answers = threading.Event()

    def answer(name: str) -> int:
        assert name == "lb1" or answers.wait(PATIENCE)
        return 0

    timer = threading.Timer(0.2, answers.set)
    timer.start()
    (said,) = awaited(answer)
    timer.join()
    assert "lb2 which hosts are in use (at most 6 s)" in said


def test_a_peer_that_was_not_reached_before_is_not_asked() -> None:
    assert awaited(unreachable, failed=("lb1", "lb2")) == []


def test_ctrl_c_ends_the_wait() -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(HostFailed, match="interrupted"):
        awaited(lambda _: NO_OTHER, seconds=int(PATIENCE), cancelled=cancelled)


def plan_of(host: str, verb: UnitVerb) -> HostPlan:
    action = UnitAction(verb, Unit(name="web.service"), "changed", "")
    return HostPlan(host, None, (Transaction("app", (action,)),))


def test_hosts_of_one_group_do_not_take_each_others_place() -> None:
    verbs: dict[str, UnitVerb] = {"a1": "restart", "a2": "restart", "a3": "stop", "a4": "start", "a5": "restart"}
    plans = {name: plan_of(name, verb) for name, verb in verbs.items()}
    groups: list[list[str]] = [["a1"], ["a2", "a3", "a4"], ["a5"]]
    role = Role(name="app", desired=lambda *_: (), turns=lambda *_: groups)
    nothing: Any = SimpleNamespace(facts={})
    nodes = schedule.graph(SimpleNamespace(), plans, {"app": role}, dict.fromkeys(plans, nothing))  # type: ignore[arg-type]  # stand-ins
    found = {name: schedule.leaving(nodes, plans, Node(name, "app")) for name in plans}
    web = frozenset({"web.service"})
    assert found == {
        "a1": (web, frozenset()),
        "a2": (web, frozenset({"a3"})),
        "a3": (web, frozenset({"a2"})),
        "a4": (frozenset(), frozenset({"a2", "a3"})),
        "a5": (web, frozenset()),
    }
