"""The wait until peers use a changed host again: as long as they need, and no longer than the fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from plainstack.deploy import peers
from plainstack.deploy.schedule import Node
from plainstack.engine.role import Role, Settle
from plainstack.errors import HostFailed
from tests.waiting import PATIENCE

NODE = Node("app1", "app")


def see(answer: Callable[[str], int], *, seconds: float, failed: tuple[str, ...] = (), asks: bool = True) -> float:
    """Wait for app1, whose peers are lb1 and lb2; `answer` returns a peer's exit code. Return the seconds it took."""

    def session(name: str) -> SimpleNamespace:
        return SimpleNamespace(script=lambda *_, **__: SimpleNamespace(code=answer(name)))

    def scripts(*_: object) -> Mapping[str, str]:
        return {"lb1": "ask", "lb2": "ask"}

    role = Role(name="app", desired=lambda *_: (), settle=Settle(6, "wait", scripts if asks else None))
    observer: Any = SimpleNamespace(
        roles={"app": role}, stack=SimpleNamespace(hosts={"app1": None}), sessions=SimpleNamespace(to=session)
    )
    view: Any = SimpleNamespace(failed=dict.fromkeys(failed))
    began = time.monotonic()
    peers.see(observer, view, {NODE: seconds}, threading.Event())
    return time.monotonic() - began


def test_the_wait_ends_when_every_peer_uses_the_host() -> None:
    asked = []

    def answer(name: str) -> int:
        asked.append(name)
        return 0

    assert see(answer, seconds=PATIENCE) < PATIENCE
    assert sorted(asked) == ["lb1", "lb2"]


def unreachable(name: str) -> int:
    raise HostFailed(name, "connect", "no route to host")


@pytest.mark.parametrize("answer", [lambda name: int(name == "lb2"), unreachable])
def test_the_fixed_time_passes_if_a_peer_does_not_use_the_host_or_cannot_be_asked(answer: Callable[[str], int]) -> None:
    assert see(answer, seconds=0.2) >= 0.2


def test_the_fixed_time_passes_if_a_peer_was_not_reached_before_or_no_peer_can_tell() -> None:
    assert see(lambda _: 0, seconds=0.2, failed=("lb1",)) >= 0.2
    assert see(lambda _: 0, seconds=0.2, asks=False) >= 0.2


def test_a_peer_that_hangs_is_not_waited_for() -> None:
    ended = threading.Event()

    def answer(_name: str) -> int:
        ended.wait(PATIENCE)
        return 0

    try:
        assert see(answer, seconds=0.2) < PATIENCE
    finally:
        ended.set()
