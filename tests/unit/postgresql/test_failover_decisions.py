"""Failover decisions against a cluster in memory, interrupted after every step, while clients keep writing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plainstack.errors import Refused
from plainstack.postgresql.failover.decisions import Do, Plan, degrade, promote, rejoin, resync, switchover
from plainstack.postgresql.findings import findings, healthy
from plainstack.postgresql.observation import Topology
from tests.unit.postgresql.failover_model import THREE, TWO, Model, interrupted

Decide = Callable[[Topology], Plan]


def refused(model: Model, decide: Decide) -> str:
    """Return the reason for which the decision is refused."""
    with pytest.raises(Refused) as caught:
        model.run(decide)
    return str(caught.value)


@pytest.mark.parametrize("names", [TWO, THREE])
@pytest.mark.parametrize("synchronous", [True, False])
def test_a_switchover_interrupted_at_any_step_and_repeated_loses_nothing(
    names: tuple[str, ...], synchronous: bool
) -> None:
    for count, backwards in interrupted():
        model = Model(names, synchronous=synchronous)
        ended = model.run(lambda now: switchover(now, "db2"), count, backwards)
        again = not ended
        while again:
            try:
                again = not model.run(lambda now: switchover(now, "db2"))
            except Refused as refusal:
                assert "already" in str(refusal)  # noqa: PT017 - some interruptions come after the last thing to do
                break
        assert model.leader.name == "db2", (count, backwards, model.steps)
        assert model.whole(), (count, backwards, model.steps)
        assert not model.lost()
        assert len(set(model.acknowledged)) > 1


def test_a_switchover_stops_the_primary_once_and_rewinds_no_host() -> None:
    model = Model(THREE)
    model.run(lambda now: switchover(now, "db3"))
    done = [step.do for step in model.steps]
    assert done.count(Do.STEP_DOWN) == done.count(Do.PROMOTE) == 1
    assert not {Do.REWIND, Do.CLONE} & set(done)


def test_if_the_standby_did_not_get_the_last_wal_the_old_primary_stays_in_charge() -> None:
    model = Model()
    plan = switchover(model.topology())
    for step in next(plan):
        model.do(step)
    for step in plan.send(model.topology()):
        model.do(step)
    model["db2"].wal.pop()
    phase = plan.send(model.topology())
    assert [step.do for step in phase] == [Do.AWAIT_WAL]
    phase = plan.send(model.topology())
    assert [step.do for step in phase] == [Do.STEP_BACK]
    model.do(phase[0])
    with pytest.raises(Refused, match="did not receive the last WAL of db1, so db1 is the primary again"):
        plan.send(model.topology())
    assert model.leader.name == "db1"


def fail(model: Model, fault: str) -> None:
    (model.cut if fault == "cut" else model.kill)("db1")


@pytest.mark.parametrize("names", [TWO, THREE])
@pytest.mark.parametrize("fault", ["kill", "cut"])
@pytest.mark.parametrize("rewind_fails", [False, True])
def test_a_promotion_and_a_rejoin_interrupted_at_any_step_and_repeated_lose_nothing(
    names: tuple[str, ...], fault: str, rewind_fails: bool
) -> None:
    for count, backwards in interrupted():
        model = Model(names)
        fail(model, fault)
        model["db1"].rewind_fails = rewind_fails
        if not model.run(promote, count, backwards):
            try:
                assert model.run(promote)
            except Refused as refusal:
                assert "is the primary already" in str(refusal)  # noqa: PT017 - it may have finished
        chosen = model.leader.name
        assert not model.lost()
        assert not model["db1"].leads or fault == "cut"
        if fault == "cut":
            model.mend("db1")
            model.live()
            model.boot("db1")
        if not model.run(rejoin, count, backwards):
            assert model.run(rejoin)
        assert model.leader.name == chosen
        assert model.whole(), (count, backwards, model.steps)
        assert not model.lost()
        assert healthy(model.topology())
        assert not findings(model.topology())


@pytest.mark.parametrize("names", [TWO, THREE])
def test_the_cable_comes_back_between_fencing_and_promotion_and_promote_is_repeated(names: tuple[str, ...]) -> None:
    for count in range(1, 8):
        model = Model(names)
        model.cut("db1")
        model.run(promote, count)
        model.mend("db1")
        model.live()
        before = model.topology()
        if any(node.name != "db1" for node in before.primaries):
            continue
        if not before.fenced_everywhere("db1"):
            assert "db1 is the primary" in refused(model, promote)
            continue
        assert model.run(promote)
        assert model.leader.name != "db1"
        assert model.run(rejoin)
        assert model.whole()
        assert not model.lost()


def test_writes_stop_waiting_for_a_replica_only_if_none_is_left() -> None:
    two, three = Model(TWO), Model(THREE)
    for model in (two, three):
        model.kill("db1")
        model.run(promote)
        before = len(model.acknowledged)
        model.live()
        assert len(model.acknowledged) == before + 1
    assert two.leader.degraded
    assert not three.leader.degraded
    two.run(rejoin)
    assert not two.leader.degraded


def test_only_the_standby_with_the_most_wal_is_promoted() -> None:
    model = Model(THREE)
    model["db2"].wal.pop()
    model.kill("db1")
    assert "db2 (timeline 1, 0/0) lacks writes that db3 has" in refused(model, lambda now: promote(now, "db2"))
    model.run(promote)
    assert model.leader.name == "db3"
    assert not model.lost()


def test_a_standby_on_an_older_timeline_is_not_promoted_however_much_wal_it_has() -> None:
    model = Model(THREE)
    model["db2"].timeline, model["db3"].timeline = 1, 2
    model["db2"].wal += [(1, 900), (1, 901)]
    model.kill("db1")
    model.run(promote)
    assert model.leader.name == "db3"


def test_every_possible_primary_is_fenced_off_on_every_host_before_the_promotion() -> None:
    model = Model(THREE)
    model.cut("db1")
    model.run(promote)
    kinds = [step.do for step in model.steps]
    at = kinds.index(Do.PROMOTE)
    fenced = {step.host for step in model.steps[:at] if step.do is Do.FENCE and "db1" in step.about}
    assert fenced == {"db2", "db3", "app1"}


def test_an_old_primary_that_boots_again_never_leads() -> None:
    model = Model()
    model.cut("db1")
    model.kill("db1")
    model.run(promote)
    model.mend("db1")
    model.closed = {name: set() for name in model.closed}
    model.boot("db1")
    assert not model["db1"].running


def test_rejoin_repairs_two_primaries_by_giving_up_the_older_timeline() -> None:
    model = Model()
    model.cut("db1")
    model.run(promote)
    model.mend("db1")
    assert model["db1"].leads
    assert any("two primaries: db1 (timeline 1) and db2 (timeline 2)" in text for text in findings(model.topology()))
    model.run(rejoin)
    assert model.leader.name == "db2"
    assert model.whole()


def test_an_interrupted_rewind_is_not_trusted() -> None:
    model = Model()
    model.kill("db1")
    model.run(promote)
    model["db1"].rewinding = "an earlier rewind was interrupted"
    model.run(rejoin)
    assert Do.REWIND not in [step.do for step in model.steps]
    (clone,) = [step for step in model.steps if step.do is Do.CLONE]
    assert "an earlier rewind was interrupted" in clone.says
    assert model.whole()


def test_a_host_without_data_gets_a_copy() -> None:
    model = Model()
    model.kill("db2")
    model["db2"].data = False
    model.run(rejoin)
    assert model.whole()


def test_rejoining_a_healthy_cluster_does_nothing() -> None:
    model = Model(THREE)
    model.run(rejoin)
    assert not model.steps


def test_degrade_and_resync_work_on_command() -> None:
    model = Model()
    assert "db2 confirms the writes of db1" in refused(model, degrade)
    assert "db1 is not degraded" in refused(model, resync)
    model.cut("db2")
    waiting = len(model.acknowledged)
    model.live()
    assert len(model.acknowledged) == waiting
    model.run(degrade)
    assert len(model.acknowledged) > waiting
    assert any("degraded since then" in text for text in findings(model.topology()))
    assert "no replica streams from db1" in refused(model, resync)
    assert "degraded already" in refused(model, degrade)
    model.mend("db2")
    model.run(resync)
    assert not model.leader.degraded
    assert "synchronous is false" in refused(Model(synchronous=False), degrade)
