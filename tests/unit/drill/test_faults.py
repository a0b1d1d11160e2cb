"""Which faults a drill may cause on which hosts, and what it refuses."""

from __future__ import annotations

import pytest
from invoke.exceptions import Exit

from plainstack.cli import drill_commands
from plainstack.drill import faults
from plainstack.drill.measures import Budgets
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.shipped import ROOT


def no_lab(stack: Stack) -> Stack:
    """Return the same stack on hosts that are not lab hosts."""
    return stack.model_copy(update={"ssh": stack.ssh.model_copy(update={"gateway": None})})


@pytest.mark.parametrize(
    ("target", "fault", "says", "script"),
    [
        ("db", "kill", "kill -9 all of postgresql@17-main on h", "--signal=KILL postgresql@17-main.service"),
        ("db", "stop", "stop postgresql@17-main on h", "systemctl stop postgresql@17-main.service"),
        ("app", "kill", "kill -9 all of plainstack-web on h", "--signal=KILL plainstack-web.service"),
        ("balancer", "kill", "kill -9 all of nginx on h", "--signal=KILL nginx.service"),
        ("balancer", "kill-keepalived", "kill -9 all of keepalived on h", "--signal=KILL keepalived.service"),
    ],
)
def test_a_fault_affects_only_the_units_of_its_service(
    stack: Stack, target: str, fault: str, says: str, script: str
) -> None:
    found = faults.find(stack, target, fault)
    assert found.says("h") == says
    assert found.script().endswith(script)


@pytest.mark.parametrize(
    ("target", "fault", "why"),
    [
        ("dbs", "kill", "known: db, app, balancer, cache, all"),
        ("db", "burn", "known: kill, stop, cut, switchover, kill-behind, all"),
        ("app", "switchover", "known: kill, stop, cut, sick, all"),
    ],
)
def test_an_error_about_an_unknown_name_lists_the_known_ones(stack: Stack, target: str, fault: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        drill_commands.chosen(stack, target, fault)


def test_a_drill_is_refused_if_the_role_has_only_one_host(stack: Stack) -> None:
    alone = stack.model_copy(update={"hosts": {name: host for name, host in stack.hosts.items() if name != "db2"}})
    with pytest.raises(Refused, match="only db1 has the role db"):
        faults.find(alone, "db", "kill")


def test_cables_are_cut_only_in_the_lab(stack: Stack) -> None:
    assert faults.find(stack, "db", "cut").cut
    for fault in ("cut", "all"):
        with pytest.raises(Refused, match=r"in the lab|for the lab"):
            drill_commands.chosen(no_lab(stack), "db", fault)


def test_all_means_every_target_and_every_fault_one_after_the_other(stack: Stack) -> None:
    found = [(fault.target, fault.name) for fault in drill_commands.chosen(stack, "all", "all")]
    assert found == [(target, name) for target in ("db", "app", "balancer") for name in ("kill", "stop", "cut")]


def without(stack: Stack, *names: str) -> Stack:
    """Return the same stack without these hosts."""
    return stack.model_copy(update={"hosts": {name: host for name, host in stack.hosts.items() if name not in names}})


def test_all_leaves_out_impossible_faults_and_says_why(stack: Stack) -> None:
    reported: list[str] = []
    found = drill_commands.chosen(without(stack, "app2", "mon1", "bak1"), "all", "kill", reported.append)
    assert [fault.target for fault in found] == ["db", "balancer"]
    assert reported == [
        "left out: only app1 has the role app, so no other host could take over: there is nothing to drill",
        "left out: no host has the role cache, so there is nothing to drill",
    ]
    with pytest.raises(Refused, match=r"only app1 .*\n.*only db2 .*|only db2 .*\n.*only app1 .*"):
        drill_commands.chosen(without(stack, "app2", "db1", "lb1"), "all", "kill")


@pytest.mark.parametrize("target", ["db", "app", "balancer", "all"])
def test_a_stack_without_a_site_cannot_be_drilled(stack: Stack, target: str) -> None:
    for gone in (("lb1", "lb2"), ("lb1", "lb2", "app1", "app2")):
        with pytest.raises(Refused, match=r"no host has the role balancer.*: fab failover switchover"):
            drill_commands.chosen(without(stack, *gone), target, "kill")
        with pytest.raises(Refused, match=r"no host has the role balancer.*, so there is nothing to drill$"):
            drill_commands.chosen(without(stack, *gone, "db2"), target, "kill")


def test_clients_write_from_an_app_host_that_the_fault_does_not_affect(stack: Stack) -> None:
    alone = without(stack, "app2")
    kill, cut = faults.find(stack, "db", "kill"), faults.find(stack, "db", "cut")
    assert faults.writing_hosts(stack, kill, "app1") == ["app2", "app1"]
    assert faults.writing_hosts(stack, cut, "app1") == ["app2"]
    assert faults.writing_hosts(alone, kill, "app1") == ["app1"]
    faults.refuse_where_clients_would_die(alone, kill, "app1")
    with pytest.raises(Refused, match="app1 is the only app host"):
        faults.refuse_where_clients_would_die(alone, cut, "app1")


def test_a_cut_must_not_hit_the_primary_of_the_database_by_the_way(stack: Stack) -> None:
    cut, kill, primary = (faults.find(stack, *one) for one in (("app", "cut"), ("app", "kill"), ("db", "cut")))
    for fault, victim in ((cut, "app1"), (kill, "db1"), (primary, "db1")):
        faults.refuse_two_at_once(fault, victim, "db1")
    with pytest.raises(Refused, match="db1 is also the primary of the database"):
        faults.refuse_two_at_once(cut, "db1", "db1")


def test_budgets_follow_from_the_promises_of_the_stack(stack: Stack) -> None:
    def of(target: str, fault: str, *, synchronous: bool = True) -> Budgets:
        return faults.budgets(faults.find(stack, target, fault), synchronous=synchronous)

    assert of("db", "kill") == Budgets(lost=0, write_gap=5, read_gap=5)
    assert of("db", "cut") == Budgets(lost=0, write_gap=10, read_gap=10)
    assert of("db", "kill", synchronous=False).lost is None
    assert of("app", "cut", synchronous=False) == Budgets(lost=0, write_gap=2, read_gap=2, failed_gets=0)
    assert of("db", "switchover") == Budgets(lost=0, write_gap=2, read_gap=2, failed_gets=0)
    assert drill_commands.Limits(lost="3", gap="any", failed_gets="0").over(of("db", "kill")) == Budgets(3, None, 5, 0)


@pytest.mark.parametrize(
    "flags", [{"rate": "0"}, {"rate": "x"}, {"seconds": "9999"}, {"max_lost": "-1"}, {"max_gap": "nan"}]
)
def test_an_invalid_number_is_refused_before_any_host_is_contacted(
    flags: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit):
        drill_commands.run("drill", str(ROOT / "hosts.yaml"), json=False, yes=False, **flags)
    (flag, value) = next(iter(flags.items()))
    said = capsys.readouterr().err
    assert f"--{flag.replace('_', '-')}" in said
    assert value in said


def test_a_real_stack_needs_its_name_typed_and_lists_the_faults(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drill_commands, "load", lambda _path: no_lab(stack))
    with pytest.raises(Exit):
        drill_commands.run("drill", "hosts.yaml", json=False, yes=True, target="db", fault="stop")
    said = capsys.readouterr()
    assert "stop postgresql@17-main on the primary (one of db1, db2)" in said.out
    assert "--yes is not enough" in said.err
