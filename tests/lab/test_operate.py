"""Daily life on one deployed stack: a restart under load, maintenance, stopped services, and timers that move."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import labs
from tests.lab.commands import await_end, await_output, start
from tests.lab.conftest import Operator
from tests.lab.whole import await_no_problems, await_nothing_to_deploy
from tests.waiting import until

HOSTS = ("lb1", "lb2", "app1", "app2", "db1", "db2")
APPS = ("app1", "app2")
SITE = f"https://{labs.NETWORKS[1]}.230"
UNIT = "plainstack-web"
UPSTREAMS = "/etc/plainstack/balancer/upstreams"
TIMER = "plainstack-web-tick"
# The load of a visitor, by curl on a balancer.
LOAD = f"""
rm -f /run/load.stop
cat >/run/load.sh <<'END'
while [ ! -e /run/load.stop ]; do curl -sk -m 60 -o /dev/null -w '%{{http_code}}\\n' {SITE}/; done >/run/load
END
systemd-run --quiet --unit=load sh /run/load.sh
"""
# Ends the load after its last request, and prints how often each status was answered.
ANSWERS = "touch /run/load.stop; while systemctl is-active -q load; do sleep 0.1; done; sort /run/load | uniq -c"


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[Operator]:
    """Start the deployed stack, and add a timer and a process that runs once."""
    with labs.from_snapshot("operate", labs.default_inventory(), project, HOSTS) as operator:
        data = yaml.safe_load(operator.inventory.read_text(encoding="utf-8"))
        tick = "sh -c 'echo tick $$PLAINSTACK_TICK; exec sleep 1'"
        data["services"]["web"]["timers"] = {"tick": {"command": tick, "calendar": "*:*:0/10"}}
        data["services"]["web"]["processes"] = {"beat": {"command": "sleep infinity", "one": True}}
        data["balancer"]["maintenance"] = {"retry_after": 120}
        data["notify"] = {"command": "cat >>notified.jsonl"}
        operator.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        operator.inv("deploy", "--no-notify")
        yield operator


def notified(stack: Operator) -> list[dict[str, Any]]:
    """Return the documents that notify.command has received."""
    text = (stack.inventory.parent / "notified.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def asked(stack: Operator, path: str = "/", *words: str) -> tuple[str, str, str]:
    """Return the status, the value of Retry-After and the body that a visitor gets."""
    curl = f"curl -sk -m 60 -D /run/head {' '.join(words)} {SITE}{path}"
    body = stack.on("lb2", curl)
    head = stack.on("lb2", "tr -d '\\r' </run/head")
    retry = re.findall("(?im)^retry-after: (.*)$", head)
    return head.split()[1], retry[0] if retry else "", body


def pid(stack: Operator, host: str) -> str:
    return stack.on(host, f"systemctl show -p MainPID --value {UNIT}").strip()


def ticks(stack: Operator, *hosts: str) -> list[int]:
    """Return the ticks that hosts have run, in the order of each host's journal."""
    lines = "".join(stack.on(host, f"journalctl -u {TIMER} -o cat --no-pager") for host in hosts or APPS)
    return [int(found) for found in re.findall("(?m)^tick ([0-9]+)$", lines)]


def test_no_request_fails_during_a_restart(stack: Operator) -> None:
    before = {host: pid(stack, host) for host in APPS}
    stack.on("lb2", LOAD)
    done = stack.json("restart", "web", "--process=web")
    until(lambda: int(stack.on("lb2", "wc -l </run/load")) > 50, "the load is too small to show anything")
    answers = stack.on("lb2", ANSWERS).split()
    assert done["restarted"] == list(APPS)
    assert all(pid(stack, host) != before[host] for host in APPS)
    assert answers[1::2] == ["200"], answers
    assert [event["actions"] for event in stack.json("log", "--host=app2", "--last=1")] == [[f"restart {UNIT}.service"]]


def test_a_host_is_restarted_only_when_the_balancers_use_another_one(stack: Operator) -> None:
    stack.on("lb2", LOAD)
    stack.on("lb1", f"{UPSTREAMS} drain app1")
    waiting = start(stack, "restart", "web", "--process=web", "--host=app2")
    await_output(waiting, "app2: app: wait until the balancers use another host")
    stack.on("lb1", f"{UPSTREAMS} restore app1")
    await_end(waiting)
    answers = stack.on("lb2", ANSWERS).split()
    assert waiting.returncode == 0
    assert answers[1::2] == ["200"], answers


def test_a_restart_stops_at_a_host_that_does_not_become_healthy(stack: Operator) -> None:
    before = pid(stack, "app2")
    stack.on("app1", "echo 'raise SystemExit(3)' >>/etc/plainstack/app/web.gunicorn.py")
    failed = stack.inv("restart", "web", "--process=web", code=1)
    assert "app1: app: restart plainstack-web.service" in failed.err
    assert "not restarted: app2" in failed.err
    assert pid(stack, "app2") == before
    stack.inv("deploy")


def test_maintenance_closes_the_site_to_visitors_and_a_balancer_that_was_down_is_reported(stack: Operator) -> None:
    stack.inv("maintenance", "on", "--message=Back at <14:00>")
    for words in (
        (),
        ("-X", "POST", "-d", "x=1"),
        ("--http1.1", "-H", "Upgrade:websocket", "-H", "Connection:upgrade"),
    ):
        status, retry, body = asked(stack, "/", *words)
        assert (status, retry) == ("503", "120")
        assert "<p>Back at &lt;14:00&gt;</p>" in body
    assert asked(stack, "/healthz")[:2] == ("200", "")
    assert "web: in maintenance since " in stack.inv("plan").out
    verified = stack.json("verify", "--role=balancer")
    assert "web: in maintenance since " in verified["notes"][0]
    stack.inv("lab.break", "lb2", "--cut")
    try:
        assert "unchanged: lb2" in stack.inv("maintenance", "off", code=1).err
    finally:
        stack.inv("lab.mend", "lb2")
    assert "lb1: web is in maintenance on lb2, but not here" in stack.inv("status", code=1).err
    stack.inv("maintenance", "off")
    # When a balancer is back, the virtual address may move again.
    await_no_problems(stack)
    assert asked(stack)[0] == "200"


def test_a_stopped_service_stays_stopped_after_a_reboot_and_a_deploy(stack: Operator) -> None:
    stack.inv("stop", "web", "--process=web", "--host=app2")
    stack.inv("lab.break", "app2", "--reboot")
    await_nothing_to_deploy(stack)
    assert stack.on("app2", f"systemctl is-active {UNIT} || :").strip() == "inactive"
    until(lambda: asked(stack)[0] == "200")
    # That is no problem, once another host has taken over what runs once.
    await_no_problems(stack)
    verified = stack.json("verify", "--role=app,balancer")
    assert [check["name"] for check in verified["checks"] if not check["passed"]] == []
    assert "web: web is stopped on app2 since " in " ".join(verified["notes"])
    assert "web: web is stopped on app2 since " in stack.inv("status", code=None).out
    assert "inv start web" in stack.inv("restart", "web", "--process=web", "--host=app2", code=1).err
    stack.inv("start", "web")
    assert stack.on("app2", f"systemctl is-active {UNIT}").strip() == "active"
    await_nothing_to_deploy(stack)


def test_a_timer_runs_once_for_each_time_whichever_host_is_up(stack: Operator) -> None:
    until(lambda: ticks(stack))
    for host, other, fault in (("app1", "app2", "--power-off"), ("app2", "app1", "--cut")):
        stack.inv("lab.break", host, fault)
        broken = time.time()
        until(lambda other=other, broken=broken: len([tick for tick in ticks(stack, other) if tick > broken]) >= 3)  # type: ignore[misc]  # a default
        stack.inv("lab.mend", host)
        until(lambda host=host: stack.on(host, "echo up", check=False))  # type: ignore[misc]  # the defaults bind the loop variables
    run = ticks(stack)
    assert len(run) == len(set(run))
    assert all(tick % 10 == 0 for tick in run)


def test_status_shows_which_host_runs_a_process_that_runs_once(stack: Operator) -> None:
    until(lambda: "web-beat has run on app" in stack.inv("status", code=None).out)


def test_every_command_that_changed_something_was_notified(stack: Operator) -> None:
    told = notified(stack)
    assert [one["action"] for one in told[:5]] == ["restart", "restart", "restart", "deploy", "maintenance"]
    assert [one["result"] for one in told[:5]] == ["done", "done", "failed", "done", "done"]
    assert list(told[2]["failures"]) == ["app1"]
    assert told[0]["hosts"] == list(APPS)
    off = next(one for one in told if one["action"] == "maintenance" and one["result"] == "failed")
    assert list(off["failures"]) == ["lb2"]
    assert {"stop", "start"} <= {one["action"] for one in told}
