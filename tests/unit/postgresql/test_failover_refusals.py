"""What failover commands refuse, and what the status reports about slots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plainstack.errors import Refused
from plainstack.postgresql.failover.decisions import degrade, promote, rejoin, resync, switchover
from plainstack.postgresql.findings import findings
from plainstack.postgresql.observation import Slot, Topology
from tests.unit.postgresql.failover_model import THREE, Model
from tests.unit.postgresql.test_failover_decisions import refused


def test_every_refusal_states_the_reason_and_what_to_type() -> None:
    model = Model()
    assert "db9 is not a db host; the db hosts are db1, db2" in refused(model, lambda now: switchover(now, "db9"))
    assert "db9 is not a db host" in refused(model, lambda now: promote(now, "db9"))
    assert "db9 is not a db host" in refused(model, lambda now: rejoin(now, "db9"))
    assert refused(model, lambda now: switchover(now, "db1")) == "db1 is the primary already"
    assert "db1 is the primary and answers. For a planned handover: fab failover switchover" in refused(model, promote)
    assert "db1 is the primary, so there is nothing to rejoin" in refused(model, lambda now: rejoin(now, "db1"))
    model.cut("db2")
    assert "db2 is unreachable, not a running replica. Make it reachable first" in refused(
        model, lambda now: switchover(now, "db2")
    )
    assert "no replica runs that could become the primary" in refused(model, switchover)
    assert "no answer from db2. Bring it back" in refused(model, rejoin)
    model.kill("db1")
    assert "no replica runs that could become the primary" in refused(model, promote)
    assert "there is no primary to follow. Make one first: fab failover promote" in refused(model, rejoin)
    model.cut("db1")
    for decide in (promote, switchover, rejoin, degrade, resync):
        assert "no db host answers (db1, db2)" in refused(model, decide)


def test_a_primary_that_its_standby_reaches_is_not_declared_dead() -> None:
    model = Model()
    now = model.topology()
    nodes = {**now.nodes, "db1": Topology(now.nodes).nodes["db1"].__class__(name="db1", state="unreachable")}
    with pytest.raises(Refused, match="db1 does not answer over SSH, but its PostgreSQL answers db2"):
        next(promote(Topology(nodes, now.clients)))


def test_two_primaries_are_never_switched_over_or_promoted() -> None:
    model = Model(THREE)
    model.cut("db1")
    model.run(promote)
    model.closed = {name: set() for name in model.closed}
    model["db1"].plugged = True
    for decide in (switchover, promote, degrade):
        with pytest.raises(Refused, match=r"two primaries: db1 .timeline 1. and db2 .timeline 2."):
            next(decide(model.topology()))


def test_two_primaries_on_one_timeline_are_left_to_a_person() -> None:
    model = Model()
    model["db2"].leads, model["db2"].signal = True, False
    model.closed["app1"].add("db2")
    with pytest.raises(Refused, match="Choose whose writes to keep"):
        next(rejoin(model.topology()))


def test_a_lost_slot_is_reported_with_what_its_reader_needs() -> None:
    now = Model().topology()

    def said(name: str, *, active: bool) -> str:
        leader = replace(now.nodes["db1"], slots=(Slot(name, active, 0, "lost"),))
        (finding,) = findings(replace(now, nodes={**now.nodes, "db1": leader}))
        return finding

    assert "slot db2 is lost: its reader still finds the WAL" in said("db2", active=True)
    assert "fab failover rejoin --discard" in said("db2", active=False)
    assert "Barman makes a new slot" in said("barman", active=False)


def test_a_slot_of_a_removed_host_is_reported_with_the_command_that_drops_it() -> None:
    now = Model().topology()
    gone, used = Slot("db9", active=False, retained=4096, wal_status="reserved"), Slot("etl", True, 4096, "reserved")
    ready = Slot("db2", active=False, retained=0, wal_status="-")
    leader = replace(now.nodes["db1"], slots=(gone, used, ready))
    assert findings(replace(now, nodes={**now.nodes, "db1": leader})) == [
        "db1: slot db9 belongs to no host of this inventory. If it is not needed: select"
        " pg_drop_replication_slot('db9')"
    ]
