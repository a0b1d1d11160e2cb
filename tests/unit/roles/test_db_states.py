"""States of the db hosts that stop a deploy, and states that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.engine.observed import Observed
from plainstack.inventory.stack import Stack
from plainstack.postgresql import preflight
from plainstack.postgresql.topology import members, primaries
from plainstack.roles import db
from tests import inventories
from tests.unit.roles.db_host import small_stack

EMPTY = {"data": "no"}
PRIMARY = {"data": "yes", "running": "yes", "recovery": "false", "system_identifier": "7", "timeline": "1"}
STANDBY = {**PRIMARY, "signal": "yes", "recovery": "true"}
STOPPED = {"data": "yes", "running": "no", "system_identifier": "7", "timeline": "1"}
STOPPED_STANDBY = {**STOPPED, "signal": "yes"}
STARTING = {"data": "yes", "running": "yes"}
PROMOTED = {**PRIMARY, "timeline": "2"}
FOREIGN = {**STANDBY, "system_identifier": "8"}


@pytest.mark.parametrize(
    ("db1", "db2"),
    [
        (EMPTY, EMPTY),
        (PRIMARY, EMPTY),
        (PRIMARY, STANDBY),
        (PRIMARY, None),
        (EMPTY, PROMOTED),
        (STANDBY, PROMOTED),
        (STOPPED_STANDBY, PROMOTED),
        (None, PROMOTED),
        (STOPPED, STANDBY),
        (STOPPED, STOPPED_STANDBY),
        (STOPPED, EMPTY),
        (STARTING, STANDBY),
        (None, None),
    ],
)
def test_these_states_do_not_stop_a_deploy(db1: dict[str, str] | None, db2: dict[str, str] | None) -> None:
    assert preflight.refusals(pair(), {"db1": db1, "db2": db2}, {}) == []


@pytest.mark.parametrize(
    ("db1", "db2", "said"),
    [
        (PRIMARY, PROMOTED, "2 primaries: db1 and db2. Their writes diverge. db2 has the newest timeline (2)"),
        (PRIMARY, FOREIGN, "the system identifiers of db1 and db2 differ"),
        (EMPTY, None, "db1 has no data directory, and db2 does not answer, so it is unknown whether a primary exists"),
        (
            EMPTY,
            STARTING,
            "db1 has no data directory, and db2 does not answer, so it is unknown whether a primary exists",
        ),
        (EMPTY, STOPPED, "db1 has no data directory, but db2 has one and is stopped. Start it as the primary"),
        (EMPTY, STANDBY, "no primary: db2 can only follow one. Promote a replica"),
        (STOPPED, PROMOTED, "db1 is stopped and would start as a second primary, next to db2. Rejoin it as a replica"),
        (STOPPED, None, "db1 is stopped and would start as a primary, but db2 does not answer"),
        (STOPPED, STARTING, "db1 is stopped and would start as a primary, but db2 does not answer"),
        (STOPPED, STOPPED, "db1 and db2 are stopped, and each would start as a primary"),
        (STANDBY, STANDBY, "no primary: db1 and db2 can only follow one. Promote a replica"),
    ],
)
def test_these_states_stop_a_deploy(db1: dict[str, str] | None, db2: dict[str, str] | None, said: str) -> None:
    (refusal,) = preflight.refusals(pair(), {"db1": db1, "db2": db2}, {})
    assert refusal.startswith(said)


def test_the_primary_is_determined_by_observation_and_not_by_order() -> None:
    everybody = members(["db1", "db2"], {"db1": STANDBY, "db2": PROMOTED})
    assert [member.name for member in primaries(everybody)] == ["db2"]


def pair() -> Stack:
    text = "stack: s\nhosts:\n  db1: {address: 10.0.0.1, roles: [db]}\n  db2: {address: 10.0.0.2, roles: [db]}\n"
    return inventories.parse(text + "database: {name: shop}\n", "test.yaml", Path())


def test_a_setting_that_waits_for_a_restart_is_reported_and_does_not_stop_a_deploy() -> None:
    small = small_stack()
    (finding,) = db.ROLE.findings(small, small.hosts["db1"], Observed(facts={"restart": "max_connections, wal_level"}))
    assert finding.text.startswith("max_connections, wal_level: changed, but takes effect only when PostgreSQL")
    assert not finding.refused
    assert not list(db.ROLE.findings(small, small.hosts["db1"], Observed(facts=STANDBY)))
    (member,) = members(["db1"], {"db1": {**PRIMARY, "restart": "wal_level"}})
    assert member.restart == "wal_level"
