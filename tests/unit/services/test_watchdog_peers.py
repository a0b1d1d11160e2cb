"""Watchdogs of several hosts: one host alone is restarted at once; a fault that they share does not take all down."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.services.watched_hosts import (
    FAILURES,
    HEALTHY,
    HUNG,
    INTERVAL,
    REFUSED,
    SICK,
    STARTUP,
    Hosts,
)

pytestmark = pytest.mark.programs

TWO = ("app1", "app2")
NOTICED = INTERVAL * FAILURES
TURN = STARTUP + 3 * INTERVAL


def starting(now: int, since: int) -> bool:
    return 0 < since <= now < since + STARTUP


@pytest.mark.parametrize("sick", TWO)
def test_a_host_that_is_sick_alone_is_restarted_at_once(tmp_path: Path, sick: str) -> None:
    def answers(name: str, now: int, since: int) -> str:
        if starting(now, since):
            return REFUSED
        return SICK if name == sick and not since else HEALTHY

    hosts = Hosts(tmp_path, TWO, answers)
    hosts.run(60)
    assert [(name, hosts.restarted(name)) for name in TWO if hosts.restarted(name)] == [(sick, [NOTICED])]


@pytest.mark.parametrize("broken", [SICK, HUNG])
def test_of_two_sick_hosts_the_second_is_restarted_when_the_first_is_healthy(tmp_path: Path, broken: str) -> None:
    def answers(_name: str, now: int, since: int) -> str:
        if starting(now, since):
            return REFUSED
        return HEALTHY if since else broken

    hosts = Hosts(tmp_path, TWO, answers)
    hosts.run(60)
    assert hosts.restarted("app1") == [NOTICED]
    assert hosts.restarted("app2") == [NOTICED + STARTUP]
    assert "Its restart waits for http://peer/app1 (no connection)" in hosts.said["app2"]


def test_a_host_that_falls_sick_while_another_one_starts_waits_for_it(tmp_path: Path) -> None:
    def answers(name: str, now: int, since: int) -> str:
        if starting(now, since):
            return REFUSED
        return SICK if not since and (name == "app2" or now > Hosts.began + NOTICED) else HEALTHY

    hosts = Hosts(tmp_path, TWO, answers)
    hosts.run(60)
    assert hosts.restarted("app2") == [NOTICED]
    assert hosts.restarted("app1") == [NOTICED + STARTUP]


def test_a_lasting_fault_of_all_hosts_restarts_them_ever_less_and_never_both(tmp_path: Path) -> None:
    def answers(_name: str, now: int, since: int) -> str:
        return REFUSED if starting(now, since) else SICK

    hosts = Hosts(tmp_path, TWO, answers)
    hosts.run(480)
    moments = range(hosts.began, hosts.now, INTERVAL)
    both = [now for now in moments if len({name for name, at in hosts.restarts if starting(now, at)}) == 2]
    assert both == []
    for name in TWO:
        gaps = [after - before for before, after in pairwise(hosts.restarted(name))]
        # With a restart whenever a start has not helped, it would be nine.
        assert len(gaps) in (1, 2)


def test_for_a_host_that_is_gone_the_other_one_waits_one_start_up_and_then_for_its_turn(tmp_path: Path) -> None:
    def answers(name: str, _now: int, since: int) -> str:
        if name == "app1":
            return REFUSED
        return HEALTHY if since else SICK

    hosts = Hosts(tmp_path, TWO, answers, states={"app1": "inactive"})
    hosts.run(NOTICED + STARTUP + INTERVAL + 2 * TURN)
    assert hosts.restarted("app1") == []
    (after,) = hosts.restarted("app2")
    assert after >= NOTICED + STARTUP + INTERVAL
    assert (hosts.began + after) // TURN % 2 == 1
