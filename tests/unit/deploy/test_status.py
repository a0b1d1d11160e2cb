"""What `inv status` shows of a stack: the units of every host, and the status that each role reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from plainstack.deploy.observe import View
from plainstack.deploy.status import Row, rows, table, units_down
from plainstack.engine.observed import Entry, Observed, UnitState
from plainstack.engine.role import Role
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from tests import inventories

NOW = 1_000_000.0
PRIMARY = {"data": "yes", "running": "yes", "recovery": "false", "lsn": "0/2000400"}
STANDBY = {
    "data": "yes",
    "running": "yes",
    "recovery": "true",
    "signal": "yes",
    "upstream": "db1",
    "lsn": "0/2000000",
}


OLD = "the last usable backup is 1 d old. Take one: inv backup-now"


def host(**facts: str) -> Observed:
    """Return a host with one deployed unit, which is running."""
    entry = Entry("unit", "x.service", "enabled,running")
    return Observed(manifest={"base": (entry,)}, units={"x.service": UnitState(active="active")}, facts=facts)


def whole(stack: Stack) -> dict[str, Observed]:
    known = {
        "db1": host(**PRIMARY),
        "db2": host(**STANDBY),
        "bak1": host(**{"backup_at.full": str(NOW - 7300)}),
        "lb1": host(vip="192.168.3.230"),
        "lb2": host(vip=""),
    }
    return {name: known.get(name, host()) for name in stack.hosts}


def shown(stack: Stack, registry: Mapping[str, Role], view: View) -> dict[str, Row]:
    return {row.host: row for row in rows(stack, registry, view, NOW)}


def test_a_healthy_stack_has_a_line_for_every_host_and_no_problem(stack: Stack, registry: Mapping[str, Role]) -> None:
    header, lines = table(rows(stack, registry, View(stack, observed=whole(stack)), NOW))
    assert header == ("host", "address", "roles", "units", "database", "virtual address", "last backup")
    reported = {line[0]: line[3:] for line in lines}
    assert list(reported) == list(stack.hosts)
    assert reported["db1"] == ("1/1 up", "primary", "-", "-")
    assert reported["db2"] == ("1/1 up", "replica of db1, lag 1 KiB", "-", "-")
    assert reported["bak1"] == ("1/1 up", "-", "-", "full 2 h ago; no incremental one")
    assert (reported["lb1"][2], reported["lb2"][2]) == ("holds it", "-")
    assert not any(row.problems for row in shown(stack, registry, View(stack, observed=whole(stack))).values())


@pytest.mark.parametrize(
    ("name", "seen", "where", "problem"),
    [
        ("db2", host(**{**STANDBY, "upstream": ""}), "db2", "the replica does not stream"),
        ("db2", host(**PRIMARY), "db1", "the database has 2 primaries"),
        ("db1", host(**STANDBY), "db1", "the database has no primary"),
        ("db2", host(data="no"), "db2", "PostgreSQL is without data"),
        ("bak1", host(), "bak1", "there is no usable backup. Take one: inv backup-now"),
        ("bak1", host(**{"backup_at.full": str(NOW - 27 * 3600)}), "bak1", OLD),
        ("lb1", host(vip=""), "lb1", "0 hosts hold the virtual address"),
        ("mon1", replace(host(), units={}), "mon1", "x.service is missing"),
        ("mon1", replace(host(), lock="inv deploy"), "mon1", "a run is at work: inv deploy"),
    ],
)
def test_problems_are_reported_for_the_host_that_has_them(
    stack: Stack, registry: Mapping[str, Role], name: str, seen: Observed, where: str, problem: str
) -> None:
    found = shown(stack, registry, View(stack, observed={**whole(stack), name: seen}))
    assert any(reported.startswith(problem) for reported in found[where].problems), found[where].problems


TICK = Entry("timer", "plainstack-web-tick.timer", "abc 644 root root")


def ticking(timer: str, service: str) -> Observed:
    """Return a host with a timer, in these states of the timer and of the unit that it starts."""
    units = {
        "plainstack-web-tick.timer": UnitState(active=timer),
        "plainstack-web-tick.service": UnitState(active=service),
    }
    return replace(host(), manifest={**host().manifest, "app": (TICK,)}, units={**host().units, **units})


@pytest.mark.parametrize(
    ("timer", "service", "units", "problems"),
    [
        ("active", "inactive", "2/2 up", []),
        ("active", "activating", "2/2 up", []),
        (
            "active",
            "failed",
            "1/2 up",
            ["the last run of plainstack-web-tick.timer failed: inv logs web-tick --host=mon1"],
        ),
        ("inactive", "inactive", "1/2 up", ["plainstack-web-tick.timer is inactive"]),
        (
            "inactive",
            "failed",
            "1/2 up",
            [
                "plainstack-web-tick.timer is inactive",
                "the last run of plainstack-web-tick.timer failed: inv logs web-tick --host=mon1",
            ],
        ),
    ],
)
def test_a_timer_is_up_if_it_runs_and_its_last_run_has_not_failed(
    stack: Stack, registry: Mapping[str, Role], timer: str, service: str, units: str, problems: list[str]
) -> None:
    observed = {**whole(stack), "mon1": ticking(timer, service)}
    row = shown(stack, registry, View(stack, observed=observed))["mon1"]
    assert (row.units, row.problems) == (units, problems)


def test_a_failed_run_of_a_timer_does_not_keep_a_lab_from_being_ready() -> None:
    """It may have failed because the other hosts were still starting, and a later run corrects that."""
    assert units_down(ticking("active", "failed")) == (["x.service", "plainstack-web-tick.timer"], {})


def test_nothing_is_concluded_about_hosts_that_were_not_observed(stack: Stack, registry: Mapping[str, Role]) -> None:
    some = {name: seen for name, seen in whole(stack).items() if name in ("db2", "lb2")}
    assert not any(row.problems for row in shown(stack, registry, View(stack, observed=some)).values())


def test_the_row_of_an_unreachable_host_keeps_its_columns(stack: Stack, registry: Mapping[str, Role]) -> None:
    observed = whole(stack)
    del observed["db2"], observed["lb1"]
    failed = {name: HostFailed(name, "connect", "no answer") for name in ("db2", "lb1")}
    found = shown(stack, registry, View(stack, observed=observed, failed=failed))
    assert (found["db2"].cells["database"], found["db2"].problems) == ("unreachable", ["no answer"])
    assert (found["lb1"].cells["virtual address"], found["lb1"].problems) == ("", ["no answer"])


def test_only_roles_of_the_stack_have_a_column(registry: Mapping[str, Role]) -> None:
    stack = inventories.parse("{stack: s, hosts: {a: {address: 10.0.0.1}}}", "hosts.yaml", Path())
    (row,) = rows(stack, registry, View(stack, observed={"a": host()}), NOW)
    assert row.as_data() == {
        "host": "a",
        "address": "10.0.0.1",
        "roles": "-",
        "reachable": True,
        "units": "1/1 up",
        "problems": [],
        "notes": [],
    }
