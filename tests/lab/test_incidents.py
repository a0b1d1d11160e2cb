"""The example stack with Celery: deployed as it is, used by an operator who logs in, and drilled at its cache."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from plainstack.postgresql.layout import AS_POSTGRES, BIN
from tests.lab import labs
from tests.lab.conftest import ROOT, Operator
from tests.lab.drills import passed
from tests.lab.whole import await_nothing_to_deploy
from tests.waiting import until

STAND = ROOT / "stacks/incidents"
HOSTS = ("lb1", "app1", "app2", "db1", "db2", "mon1")
CACHE = ("app1", "app2", "mon1")
MACHINES = 20
PASSWORD = "red-dots-5"
# Logs in as a browser does, and prints the status and the incidents that the page then asks for by itself.
LOG_IN = """\
cd "$(mktemp -d)"
browse() { curl -sSk -b jar -c jar -H "Referer: $SITE/login/" "$@"; }
token=$(browse "$SITE/login/" | sed -n 's/.*name="csrfmiddlewaretoken" value="\\([^"]*\\)".*/\\1/p')
browse -o page -w '%{http_code} %{redirect_url}\\n' --data-urlencode "csrfmiddlewaretoken=$token" \\
    --data-urlencode name=operator --data-urlencode "password=$PASSWORD" --data-urlencode next=/machines/ "$SITE/login/"
browse -w '\\n%{http_code}\\n' "$SITE/api/incidents?state=open"
"""


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[Operator]:
    """Give hosts that run another stack the inventory of this one; only names, addresses and intervals differ."""
    with labs.from_snapshot("incidents", labs.default_inventory(), project, HOSTS) as operator:
        lab = yaml.safe_load(operator.inventory.read_text(encoding="utf-8"))
        data = yaml.safe_load((STAND / "hosts.yaml").read_text(encoding="utf-8"))
        assert tuple(data["hosts"]) == HOSTS
        for name, host in data["hosts"].items():
            host |= {key: lab["hosts"][name][key] for key in ("address", "public") if key in host}
        service = data["services"]["web"]
        service["source"] = str((STAND / service["source"]).resolve())
        service["env"] |= {"POLL_INTERVAL": "5", "POLL_TIMEOUT": "2"}
        data |= {key: lab[key] for key in ("stack", "ssh", "lab")}
        operator.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        # No host of the inventory is missing here, so commands need not be limited to some.
        whole = replace(operator, hosts=())
        whole.inv("deploy")
        yield whole


def site(stack: Operator) -> str:
    address = yaml.safe_load(stack.inventory.read_text(encoding="utf-8"))["hosts"]["lb1"]["public"]
    return f"https://{address}"


def sql(stack: Operator, query: str) -> str:
    return stack.on("db1", f'cd / && {AS_POSTGRES} {BIN}/psql -XAtqd monitor -c "{query}"').strip()


def rounds(stack: Operator, after: str) -> list[int]:
    """Return how many machines have an outcome in each finished round that began after a time."""
    query = (
        "select (select count(distinct p.machine_id) from incidents_poll p where p.round_id = r.id)"
        f" from incidents_round r where at > '{after}' and finished_at is not null order by at"
    )
    return [int(line) for line in sql(stack, query).split()]


def parts(stack: Operator) -> dict[str, str]:
    """Return what `inv status` says about the cache, by host."""
    return {row["host"]: row["cache"] for row in stack.json("status", code=None) if row["cache"]}


def roles(stack: Operator) -> list[str]:
    return sorted(part.replace(",", " ").split()[0] for part in parts(stack).values())


def test_the_stack_is_deployed_and_passes_every_check(stack: Operator) -> None:
    await_nothing_to_deploy(stack)
    assert parts(stack).keys() == {*CACHE}
    until(lambda: roles(stack) == ["primary", "replica", "replica"], "there is no primary with two replicas")
    checks = stack.json("verify")["checks"]
    assert {check["host"] for check in checks} == {*HOSTS}


def test_each_round_has_an_outcome_of_every_machine_although_some_misbehave(stack: Operator) -> None:
    until(lambda: len(rounds(stack, "-infinity")) > 2, "no three rounds have finished")
    # Machines that were registered after a round had begun are not in it.
    assert rounds(stack, "-infinity")[-1] == MACHINES


def test_an_operator_who_logs_in_sees_the_open_incidents(stack: Operator) -> None:
    create = f"env DJANGO_SUPERUSER_PASSWORD={PASSWORD} python manage.py createsuperuser --noinput"
    stack.inv("exec", "web", "--", "sh", "-c", f"{create} --username operator --email operator@shop.example")
    until(lambda: int(sql(stack, "select count(*) from incidents_incident where closed_at is null")))
    stranger = stack.on("lb1", f"curl -sSk -o /dev/null -w '%{{http_code}}' {site(stack)}/api/incidents")
    assert stranger in ("302", "401", "403")
    given = f"SITE={site(stack)} PASSWORD={shlex.quote(PASSWORD)}\n"
    logged_in, *document, code = stack.on("lb1", given + LOG_IN).splitlines()
    assert (logged_in, code) == (f"302 {site(stack)}/machines/", "200")
    assert json.loads("\n".join(document))["incidents"]


def test_a_drill_shows_that_a_lost_primary_of_the_cache_costs_seconds_of_writes(stack: Operator) -> None:
    # The Sentinels need seconds to agree. The pages do not need the cache: no GET may fail.
    passed(stack, "cache", "stop", gap=40)
    assert roles(stack) == ["primary", "replica", "replica"]


def test_workers_find_the_new_primary_and_go_on_polling(stack: Operator) -> None:
    now = sql(stack, "select now()")
    until(lambda: MACHINES in rounds(stack, now), "no round that began after the drill is complete")
    await_nothing_to_deploy(stack)
