"""Fences: which are removed, and which keep a host from being promoted or degraded."""

from __future__ import annotations

from plainstack.postgresql.failover.decisions import Do, degrade, promote, rejoin, switchover
from plainstack.postgresql.findings import findings, healthy
from tests.unit.postgresql.failover_model import THREE, Model
from tests.unit.postgresql.test_failover_unseen import done, refused, unseen


def with_a_fence_left_behind() -> Model:
    """Return a cluster in which db1 has rejoined, but app1, which was away, still fences db1 off."""
    model = Model()
    model.kill("db1")
    model.run(promote)
    left = set(model.closed["app1"])
    model.run(rejoin)
    model.closed["app1"] = left
    return model


def test_a_leftover_fence_is_a_problem_and_a_rejoin_removes_it() -> None:
    model = with_a_fence_left_behind()
    assert not healthy(model.topology())
    assert any("db1 is fenced off by app1 until it has rejoined" in text for text in findings(model.topology()))
    model.run(rejoin)
    assert healthy(model.topology())
    assert not findings(model.topology())


def test_a_switchover_opens_every_host_to_the_new_primary_first() -> None:
    model = with_a_fence_left_behind()
    model.run(switchover)
    kinds = done(model)
    assert kinds.index((Do.UNFENCE, "app1")) < kinds.index((Do.STEP_DOWN, "db2"))
    before = len(model.acknowledged)
    model.live()
    assert model.leader.name == "db1"
    assert len(model.acknowledged) == before + 1


def test_a_fence_around_the_only_possible_primary_is_removed() -> None:
    model = Model()
    model.closed["app1"].add("db1")
    assert any(
        "db1 is fenced off by app1" in text and "fab failover rejoin" in text for text in findings(model.topology())
    )
    model.run(rejoin)
    assert healthy(model.topology())


def test_a_standby_that_missed_a_promotion_is_promoted_only_by_name_and_then_unfenced() -> None:
    model = Model(THREE)
    model.cut("db3")
    model.kill("db1")
    model.run(lambda now: promote(now, "db2"))
    for _ in range(5):
        model.live()
    model.mend("db3")
    model.cut("db2")
    reported = refused(model.topology(), promote)
    assert "db3 has been fenced off since an earlier promotion" in reported
    assert reported.endswith("fab failover promote --to=db3")
    model.run(lambda now: promote(now, "db3"))
    before = len(model.acknowledged)
    model.live()
    assert model.leader.name == "db3"
    assert len(model.acknowledged) == before + 1


def test_a_fenced_old_primary_is_neither_degraded_nor_unfenced_while_its_successor_is_unreachable() -> None:
    model = Model()
    model.cut("db1")
    model.run(promote)
    model.mend("db1")
    now = unseen(model.topology(), "db2")
    assert "db1 is fenced off by app1: a promotion may have replaced it" in refused(now, degrade)
    assert not any("degrade" in text for text in findings(now))
    assert any("db2 may be another primary. Make it answer first" in text for text in findings(now))
    assert "no answer from db2" in refused(now, rejoin)
