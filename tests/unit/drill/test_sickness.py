"""The drill with a sick process: the chosen process, the refusals, the verdict, and the stand-in."""

from __future__ import annotations

import asyncio
import shlex

import pytest

from plainstack.cli import drill_commands
from plainstack.drill import faults, sickness, stand_in
from plainstack.drill.history import Attempt
from plainstack.drill.measures import Budgets, Ending, Healing, Marks
from plainstack.drill.verdict import Verdict, judge
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.shipped import ROOT
from tests import inventories

INVENTORY = """
stack: small
ssh: {gateway: lab}
hosts:
  lb1: {address: 10.0.0.2, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
services:
  plain:
    kind: binary
    source: Makefile
    processes: {web: {command: serve, port: 8000, health: /ping}}
  api:
    kind: binary
    source: Makefile
    path: /api/
    processes:
      web:
        command: serve
        port: 8010
        health: /ping
        watchdog: {interval: 5, failures: 3, startup: 20}
"""


def stack(text: str = INVENTORY) -> Stack:
    return inventories.parse(text, "hosts.yaml", ROOT)


def test_the_first_process_with_a_watchdog_becomes_sick_for_as_long_as_its_watchdog_needs() -> None:
    fault = faults.find(stack(), "app", "sick")
    assert fault.patient is not None
    assert (fault.patient.unit, fault.patient.watchdog) == ("plainstack-api.service", "plainstack-watchdog-api.service")
    assert (fault.patient.served.path, fault.patient.hosts) == ("/api/", ("app1", "app2"))
    assert (fault.patient.notice, fault.patient.budget) == (15, 35)
    assert fault.says("app1") == "let plainstack-api on app1 answer 500 to every request until it is restarted"
    assert faults.budgets(fault, synchronous=True).failed_gets == 0


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("        watchdog: {interval: 5, failures: 3, startup: 20}\n", "", "no process .* has a watchdog"),
        ("  app2: {address: 10.0.0.4, roles: [app]}\n", "", "api has a watchdog but runs only on app1"),
        ("    path: /api/\n", "    path: /api/\n    hosts: [app2]\n", "api has a watchdog but runs only on app2"),
    ],
)
def test_a_sick_drill_is_refused_without_a_watchdog_or_without_another_host(before: str, after: str, why: str) -> None:
    assert before in INVENTORY
    with pytest.raises(Refused, match=why):
        faults.find(stack(INVENTORY.replace(before, after)), "app", "sick")


def test_all_faults_of_a_target_include_sick_only_where_a_watchdog_is() -> None:
    reported: list[str] = []
    names = [fault.name for fault in drill_commands.chosen(stack(), "app", "all", reported.append)]
    assert (names, reported) == (["kill", "stop", "cut", "sick"], [])
    without = stack(INVENTORY.replace("        watchdog: {interval: 5, failures: 3, startup: 20}\n", ""))
    names = [fault.name for fault in drill_commands.chosen(without, "app", "all", reported.append)]
    assert names == ["kill", "stop", "cut"]
    assert [text.partition(",")[0] for text in reported] == ["left out: no process that serves the site has a watchdog"]


def test_the_load_outlasts_the_time_of_the_watchdog() -> None:
    sick, kill = faults.find(stack(), "app", "sick"), faults.find(stack(), "app", "kill")
    assert drill_commands.duration([kill], "") == 30
    assert drill_commands.duration([kill, sick], "") == 50
    assert drill_commands.duration([sick], "60") == 60
    with pytest.raises(Refused, match=r"--seconds=40 is too short for --fault=sick: .* 35 s\. It needs 50 s"):
        drill_commands.duration([sick], "40")
    slow = faults.find(stack(INVENTORY.replace("startup: 20", "startup: 600")), "app", "sick")
    with pytest.raises(Refused, match="a load of 600 s is too short"):
        drill_commands.duration([slow], "")


def test_the_stand_in_ends_by_itself_and_then_removes_its_rules() -> None:
    fault = faults.find(stack(), "app", "sick")
    assert fault.patient is not None
    script = sickness.start_script(fault.patient, "10.0.0.3", 4)
    words = shlex.split(script)
    assert "--property=RuntimeMaxSec=45" in words
    (undo,) = [word for word in words if word.startswith("--property=ExecStopPost=")]
    assert "-D PREROUTING -p tcp --dport 8010" in undo
    # systemd would expand it.
    assert "$" not in script
    assert "ip6tables" in sickness.start_script(fault.patient, "fd00::3", 6)


def verdict(healing: Healing, *failed: float, load_end: float = 50) -> Verdict:
    """Return the verdict on a sickness that began at 5 s, in which GETs that were due at these times failed."""
    tried = [Attempt("get", n, n / 10, n / 10, n / 10 + 0.01, "ok") for n in range(int(load_end * 10))]
    tried += [Attempt("get", 10_000 + n, due, due, due + 0.01, "HTTP 500") for n, due in enumerate(failed)]
    marks = Marks(load_end=load_end, fault=5, healing=healing)
    return judge(tried, {}, marks, Ending([], []), Budgets(failed_gets=0))


HEALED = Healing(35, sick=5, restarted=20, healthy=22, by_watchdog=True)


def test_requests_may_fail_only_within_the_time_of_the_watchdog() -> None:
    passed = verdict(HEALED, 5.5, 7)
    assert passed.passed, passed.rules
    assert passed.seconds["restart"] == 15
    seen = {rule.name: rule.seen for rule in passed.rules}
    assert seen["restart by the watchdog"] == "restarted after 15.0 s, healthy after 17.0 s"
    assert seen["failed GETs within 35 s from the fault"] == "2 HTTP 500; the last 2.0 s after the fault"
    assert verdict(HEALED, 5.5, 41).sentence == "fail: failed GETs after that: 1 HTTP 500"


@pytest.mark.parametrize(
    ("healing", "seen"),
    [
        (Healing(35, 5), "it was not restarted"),
        (
            Healing(35, 5, 20, 22, by_watchdog=False),
            "restarted after 15.0 s, healthy after 17.0 s, but not by the watchdog",
        ),
        (Healing(35, 5, 20, 41, by_watchdog=True), "restarted after 15.0 s, healthy after 36.0 s"),
    ],
)
def test_the_watchdog_itself_must_heal_the_process_in_its_time(healing: Healing, seen: str) -> None:
    assert verdict(healing).sentence == f"fail: restart by the watchdog: {seen}"


def test_a_load_that_ends_too_early_shows_nothing() -> None:
    short = verdict(HEALED, load_end=30)
    assert not short.passed
    assert short.sentence == "fail: failed GETs after that: the load had ended before"


@pytest.mark.parametrize("body", [b"", b"x" * 100_000])
def test_the_stand_in_answers_500_to_every_request(body: bytes) -> None:
    async def ask() -> bytes:
        server = await asyncio.start_server(stand_in.refuse, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"POST /any HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            answer = head + await reader.readexactly(len(stand_in.BODY))
            writer.close()
            return answer

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.endswith(stand_in.BODY)
