"""Failover decisions when not everything is visible: unreachable primaries, newer standbys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from plainstack.errors import AlreadySo, NotDeployed, Refused
from plainstack.postgresql.failover.decisions import Do, Plan, degrade, promote, rejoin, switchover
from plainstack.postgresql.findings import findings
from plainstack.postgresql.observation import Node, Topology, observed
from plainstack.postgresql.topology import State
from tests.unit.postgresql.failover_model import THREE, TWO, Model


def unseen(now: Topology, name: str) -> Topology:
    """Return the topology with one host that runs but does not answer the operator."""
    return replace(now, nodes={**now.nodes, name: Node(name=name, state="unreachable")})


def refused(now: Topology, decide: Callable[[Topology], Plan]) -> str:
    with pytest.raises(Refused) as caught:
        next(decide(now))
    return str(caught.value)


def done(model: Model) -> list[tuple[Do, str]]:
    return [(step.do, step.host) for step in model.steps]


def test_a_replaced_primary_is_not_switched_over_even_after_a_clean_shutdown() -> None:
    model = Model(THREE)
    model.kill("db1")
    model["db1"].clean = True
    model.run(lambda now: promote(now, "db2"))
    model.live()
    now = unseen(model.topology(), "db2")
    assert "there is no primary to switch over from" in refused(now, switchover)
    assert not any("hands over" in text for text in findings(now))
    assert "db2 does not answer over SSH, but its PostgreSQL answers db3" in refused(now, promote)


@pytest.mark.parametrize("names", [TWO, THREE])
def test_a_primary_that_was_shut_down_cleanly_hands_over_without_loss(names: tuple[str, ...]) -> None:
    model = Model(names)
    model.kill("db1")
    model["db1"].clean = True
    assert any("fab failover switchover hands over without loss" in text for text in findings(model.topology()))
    model.run(switchover)
    assert model.whole()
    assert not model.lost()


@pytest.mark.parametrize("synchronous", [True, False])
def test_a_primary_that_is_still_stopping_is_not_a_standby(synchronous: bool) -> None:
    """A switchover was interrupted while it waited for the old primary to shut down."""
    stopping = observed("db1", {"data": "yes", "signal": "yes", "running": "yes"})
    reported = {
        "data": "yes",
        "signal": "yes",
        "running": "yes",
        "recovery": "true",
        "timeline": "1",
        "lsn": "0/3000000",
    }
    now = Topology({"db1": stopping, "db2": observed("db2", reported)}, synchronous=synchronous)
    assert stopping.state == "silent"
    assert "db1 is running, but does not answer. If one of them is starting or stopping, type this again" in refused(
        now, switchover
    )


def lagging_candidate() -> Model:
    """Return a cluster whose primary is dead; db2 confirmed its last writes, and db3 lacks them."""
    model = Model(THREE)
    model.closed["db3"].add("db1")
    for _ in range(5):
        model.live()
    model.closed["db3"].clear()
    model.kill("db1")
    return model


def test_a_stopped_standby_may_have_confirmed_writes_and_is_started_first() -> None:
    model = lagging_candidate()
    model["db2"].running = False
    model.run(promote)
    assert model.leader.name == "db2"
    assert not model.lost()


def test_a_stopped_standby_that_does_not_start_is_left_out_only_by_name() -> None:
    now = (model := lagging_candidate()).topology()
    now = replace(now, nodes={**now.nodes, "db2": replace(now.nodes["db2"], state="stopped standby")})
    plan = promote(now)
    assert [(step.do, step.host, step.optional) for step in next(plan)] == [(Do.WAKE, "db2", True)]
    with pytest.raises(Refused, match=r"db2 is a stopped replica, .* fab failover promote --to=db3$"):
        plan.send(now)
    assert not model.steps


def test_a_primary_that_acknowledged_writes_alone_is_started_and_not_replaced() -> None:
    model = Model()
    model.kill("db2")
    model.run(degrade)
    model.live()
    model.kill("db1")
    model.boot("db2")
    model.run(promote)
    assert model.leader.name == "db1"
    assert not model.lost()
    now = model.topology()
    nodes = {**now.nodes, "db1": replace(now.nodes["db1"], state="stopped primary")}
    plan = promote(replace(now, nodes=nodes))
    assert [step.do for step in next(plan)] == [Do.STEP_BACK]
    with pytest.raises(Refused, match=r"db1 is a stopped primary, and may have writes .* promote --to=db2$"):
        plan.send(replace(now, nodes=nodes))


def test_an_old_primary_is_not_followed_while_its_successor_is_stopped() -> None:
    model = Model()
    model.cut("db1")
    model.run(promote)
    model.mend("db1")
    model.kill("db2")
    reported = refused(model.topology(), lambda now: rejoin(now, "db2"))
    assert reported.endswith("Make db2 the primary again first: fab failover promote")
    model.run(promote)
    assert model.leader.name == "db2"
    assert not model.lost()
    assert not model["db1"].running


def test_a_primary_stopped_by_hand_becomes_a_standby_before_another_is_promoted() -> None:
    model = Model()
    model.kill("db1")
    model["db1"].clean = True
    model.run(switchover)
    assert done(model).index((Do.START, "db1")) < done(model).index((Do.PROMOTE, "db2"))


def test_rejoin_starts_a_stopped_standby_and_reports_that_writes_wait() -> None:
    model = Model()
    model.run(switchover)
    model.kill("db1")
    assert refused(model.topology(), switchover) == (
        "no replica runs that could become the primary: db1 is a stopped replica, db2 is the primary. Every"
        " write to db2 waits until one is back: fab failover rejoin"
    )


@pytest.mark.parametrize("away", ["unreachable", "stopped standby", "silent"])
def test_a_dead_standby_does_not_confirm_even_if_the_primary_still_lists_it(away: State) -> None:
    now = Model().topology()
    gone = Node(name="db2", state=away)
    leader = replace(now.nodes["db1"], answering=frozenset())
    now = replace(now, nodes={"db1": leader, "db2": gone})
    assert leader.sender("db2")
    assert [step.do for step in next(degrade(now))] == [Do.DEGRADE]
    assert any("every write waits" in text for text in findings(now))


def test_a_primary_waiting_for_a_removed_host_needs_a_deploy_and_not_degrade() -> None:
    now = Model().topology()
    alone = replace(now, nodes={"db1": replace(now.nodes["db1"], answering=frozenset(), senders=())}, synchronous=False)
    (reported,) = (text for text in findings(alone) if "every write waits" in text)
    assert reported.endswith("no longer asks for: inv deploy")
    assert refused(alone, degrade).endswith("Apply that: inv deploy")


def test_a_standby_that_only_the_operator_cannot_reach_confirms_writes() -> None:
    now = unseen(Model().topology(), "db2")
    assert "db2 confirms the writes of db1" in refused(now, degrade)


def test_a_reinstalled_host_must_be_deployed_before_it_can_rejoin() -> None:
    model = Model(THREE)
    model.kill("db1")
    model.run(promote)
    model["db1"].data = model["db1"].fenced = False
    now = model.topology()
    bare = replace(now, nodes={**now.nodes, "db1": replace(now.nodes["db1"], configured=False)})
    for host in ("", "db1"):
        with pytest.raises(NotDeployed, match=r"inv deploy --host=db1$") as caught:
            next(rejoin(bare, host))
        assert caught.value.hosts == ("db1",)
    assert not observed("db1", {"data": "no", "configured": "no"}).configured


@pytest.mark.parametrize("names", [TWO, THREE])
def test_a_command_whose_goal_is_already_reached_says_so(names: tuple[str, ...]) -> None:
    model = Model(names)
    model.cut("db1")
    model.run(promote)
    leader = model.leader.name
    for again in (promote, lambda now: promote(now, leader), lambda now: switchover(now, leader)):
        with pytest.raises(AlreadySo, match=f"{leader} is the primary already"):
            next(again(model.topology()))


@pytest.mark.parametrize("names", [TWO, THREE])
def test_promote_starts_a_cluster_with_no_running_host(names: tuple[str, ...]) -> None:
    model = Model(names)
    for name in names:
        model.kill(name)
    model.run(promote)
    assert (model.leader.name, model.leader.timeline) == ("db1", 1)
    assert model.whole()
    assert not model.lost()


def test_proceeding_without_a_host_that_may_have_confirmed_writes_needs_its_name() -> None:
    model = lagging_candidate()
    model.cut("db2")
    reported = refused(model.topology(), promote)
    assert "db2 is unreachable, and may have writes that db3 lacks. Make it answer" in reported
    assert reported.endswith("fab failover promote --to=db3")
    model.run(lambda now: promote(now, "db3"))
    assert model.leader.name == "db3"


def test_without_synchronous_replication_an_unreachable_standby_is_not_awaited() -> None:
    model = Model(THREE, synchronous=False)
    model.kill("db1")
    model.cut("db2")
    model.run(promote)
    assert model.leader.name == "db3"
