"""The example stack with an opaque program: it prepares its database for long, starts slowly, and falls sick."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from plainstack.postgresql.layout import AS_POSTGRES, BIN
from tests.lab import labs
from tests.lab.conftest import ROOT, Operator
from tests.lab.drills import passed
from tests.waiting import until

HOSTS = ("lb1", "app1", "app2", "db1", "db2", "mon1")
NODES = ("app1", "app2")
STAND = ROOT / "stacks/bingo"
SITE = f"{labs.NETWORKS[1]}.230"
# The times of the stand are shortened; a node that is starting does not answer for longer than the watchdog of the
# first node accepts from one that is not. On a busy machine, a start takes some seconds more.
QUICK = {"customers": 500, "sessions": 5000, "prepare_seconds": 60, "start_seconds": 4, "sick_after_seconds": 0}
WATCHDOG = {"interval": 1, "failures": 3, "startup": 12}
PROGRESS = re.compile(r"app1: app: (\d+)% of customers and sessions")


class Deploys(NamedTuple):
    """What two deploys printed, the first of which was interrupted when `stored` percent were prepared."""

    interrupted: str
    stored: int
    next: str


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[Operator]:
    """Start the deployed stack with the service of the stand in its inventory, not deployed yet."""
    with labs.from_snapshot("bingo", labs.default_inventory(), project, HOSTS) as operator:
        folder = operator.inventory.parent
        shutil.copytree(ROOT / "apps/bingo", folder / "bingo", ignore=shutil.ignore_patterns("bingo"))
        shutil.copy(STAND / "indices.sql", folder)
        settings = (STAND / "bingo.json").read_text(encoding="utf-8")
        for key, value in QUICK.items():
            settings, replaced = re.subn(rf',\s*"{key}": \d+', "", settings)
            settings = settings.rstrip().removesuffix("}").rstrip() + f',\n  "{key}": {value}\n}}\n'
            assert replaced or key in ("customers", "sessions")
        (folder / "bingo.json").write_text(settings, encoding="utf-8")
        service = yaml.safe_load((STAND / "hosts.yaml").read_text(encoding="utf-8"))["services"]["web"]
        service["source"] = "bingo"
        service["processes"]["web"]["watchdog"] = WATCHDOG
        assert service["routes"][1]["cache"]["ttl"] == "1m"
        service["routes"][1]["cache"]["ttl"] = "1s"
        data = yaml.safe_load(operator.inventory.read_text(encoding="utf-8"))
        # A drill needs a stack of which every host is up.
        data["hosts"] = {name: host for name, host in data["hosts"].items() if name in HOSTS}
        del data["backup"]
        operator.inventory.write_text(yaml.safe_dump(data | {"services": {"web": service}}, sort_keys=False))
        yield operator


def sql(stack: Operator, query: str) -> str:
    return stack.on(
        "db1", f'cd / && {AS_POSTGRES} {BIN}/psql -XAtqd shop -c "{query}" 2>/dev/null', check=False
    ).strip()


@pytest.fixture(scope="module")
def deploys(stack: Operator) -> Deploys:
    """Kill prepare_db during a deploy, and deploy again."""
    with ThreadPoolExecutor() as pool:
        first = pool.submit(stack.inv, "deploy", code=1)
        stored = until(lambda: int(sql(stack, "select parts from preparation") or 0))
        stack.on("app1", "kill -KILL $(pgrep -u app-web -f '^/usr/bin/python3 .* prepare_db ')")
        interrupted = first.result().text
    # However late the kill was, much is left to prepare, and that is done faster now.
    configuration = stack.inventory.parent / "bingo.json"
    slow, quick = '"prepare_seconds": 60', '"prepare_seconds": 6'
    text = configuration.read_text(encoding="utf-8")
    assert slow in text
    configuration.write_text(text.replace(slow, quick), encoding="utf-8")
    return Deploys(interrupted, stored, stack.inv("deploy").text)


def journal(stack: Operator, host: str, unit: str, text: str) -> int:
    """Return how many lines of a unit on a host contain a text."""
    return int(stack.on(host, f"journalctl -u {unit} -o cat --no-pager | grep -c '{text}' || :"))


def restarts(stack: Operator) -> dict[str, int]:
    """Return how often the watchdog of each node has restarted it."""
    return {host: journal(stack, host, "plainstack-watchdog-web", ": restarting it") for host in NODES}


def starts(stack: Operator) -> dict[str, int]:
    """Return how often each node has been started."""
    return {host: journal(stack, host, "plainstack-web", "starting, which takes") for host in NODES}


def in_use(stack: Operator) -> set[str]:
    """Return the nodes that the balancer sends requests to; a change counts when its web server has loaded it."""
    text = "[ -e /run/plainstack/upstreams/pending ] || /etc/plainstack/balancer/upstreams status"
    lines = [line.split() for line in until(lambda: stack.on("lb1", text)).splitlines()]
    return {line[1] for line in lines if line[-1] == "up"}


def asked(stack: Operator, path: str) -> tuple[str, str]:
    """Return the status of a page of the site and what it says about the cache."""
    code = "%{http_code} %header{x-cache-status}"
    status, _, cached = stack.on("lb1", f"curl -sk -m 30 -o /dev/null -w '{code}' https://{SITE}{path}").partition(" ")
    return status, cached


def test_an_interrupted_prepare_db_stops_the_deploy_and_continues_in_the_next_one(deploys: Deploys) -> None:
    assert "The command of services.web.before.prepare, bingo prepare_db bingo.json, failed" in deploys.interrupted
    shown = [int(percent) for percent in PROGRESS.findall(deploys.next)]
    assert shown == sorted(shown)
    assert shown
    assert min(shown) > deploys.stored


def test_the_database_is_prepared_once_and_has_its_indices(stack: Operator, deploys: Deploys) -> None:
    assert deploys.stored
    assert sql(stack, "select parts, customers, sessions from preparation") == "100|500|5000"
    assert sql(stack, "select count(*), count(distinct id) from sessions") == "5000|5000"
    indices = "select indexname from pg_indexes where tablename in ('customers', 'sessions') order by 1"
    assert sql(stack, indices).split() == ["customers_id", "sessions_id"]
    ran = {host: stack.on(host, "ls /srv/web/current/hooks 2>/dev/null || :").split() for host in NODES}
    assert ran == {"app1": ["before.indices", "before.prepare"], "app2": []}


def test_a_cached_page_is_answered_while_both_nodes_are_away(stack: Operator, deploys: Deploys) -> None:
    assert deploys.next
    assert asked(stack, "/session/7")[0] == "200"
    for host in NODES:
        stack.on(host, "systemctl stop plainstack-web")
    until(lambda: asked(stack, "/session/7") == ("200", "STALE"), "the page is not answered from the cache")
    assert asked(stack, "/session/8")[0] in ("502", "503", "504")
    assert asked(stack, "/db_dummy")[0] in ("502", "503", "504")
    for host in NODES:
        stack.on(host, "systemctl start plainstack-web")
    until(lambda: in_use(stack) == set(NODES) and asked(stack, "/db_dummy")[0] == "200", "the nodes are not back")


def test_the_metrics_of_balancer_and_nodes_are_there(stack: Operator, deploys: Deploys) -> None:
    assert deploys.next

    def seen(query: str, label: str) -> set[str]:
        ask = f"curl -sS --data-urlencode 'query={query}' http://127.0.0.1:9090/api/v1/query"
        return {one["metric"][label] for one in json.loads(stack.on("mon1", ask))["data"]["result"]}

    until(lambda: seen('plainstack_upstream_up{service="web"} == 1', "target") == {*NODES})
    until(lambda: seen('plainstack_cache_requests_total{service="web",result="stale"} > 0', "instance") == {"lb1"})
    until(lambda: seen('nginx_http_requests_total{instance="lb1"} > 0', "instance") == {"lb1"})
    until(lambda: seen('node_load1{instance=~"app."}', "instance") == {*NODES})


def test_a_drill_shows_that_a_sick_node_is_restarted_while_the_other_one_answers(
    stack: Operator, deploys: Deploys
) -> None:
    assert deploys.next
    until(lambda: in_use(stack) == set(NODES))
    # Both nodes have needed longer to start than a node may be sick.
    assert restarts(stack) == {"app1": 0, "app2": 0}
    before = starts(stack)
    # No GET may fail once the time of the watchdog is over.
    data = passed(stack, "app", "sick")
    # The declared bound: until the balancer has seen three failed checks and has reloaded, some get the node's answer.
    assert {*data["verdict"]["failed"]["get"]} <= {"HTTP 500"}
    assert restarts(stack) == {"app1": 1, "app2": 0}
    assert starts(stack) == {"app1": before["app1"] + 1, "app2": before["app2"]}
