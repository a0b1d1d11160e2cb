"""The statements of the lease change its row as the simulation does, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import database
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lease import FREE, Ask, Row, Verb

from tests import postgresql
from tests.unit.services.lease_database import changed

pytestmark = [pytest.mark.programs, postgresql.needed]

TENURES = st.sampled_from(["app1 1", "app2 1", FREE])
ROWS = st.builds(
    Row,
    holder=st.sampled_from(["app1", "app2", ""]),
    tenure=TENURES,
    beat=st.integers(0, 3),
    failures=st.integers(0, 2),
    since=st.just(""),
    tick=st.integers(0, 3),
)
ASKS = st.builds(
    Ask,
    verb=st.sampled_from([Verb.TAKE, Verb.RENEW, Verb.RELEASE]),
    at=st.just(0.0),
    seen=ROWS,
    beat=st.integers(0, 3),
    failures=st.integers(0, 2),
    tick=st.integers(0, 3),
)


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection[Any]]:
    with postgresql.running() as folder:
        there = f"host={folder} user=test dbname=postgres"
        with psycopg.connect(there, autocommit=True, cursor_factory=psycopg.ClientCursor) as found:
            yield found


@given(row=ROWS, ask=ASKS, same=st.booleans(), tenure=st.sampled_from(["app1 1", "app2 1"]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_a_statement_changes_the_row_as_the_simulation_does(
    connection: psycopg.Connection[Any], row: Row, ask: Ask, same: bool, tenure: str
) -> None:
    # Two random rows are seldom equal, but a lease is mostly taken as it was seen.
    ask = replace(ask, seen=row) if same else ask
    known = {"name": "beat", "host": "app3", "tenure": tenure}
    database._do(connection, known, Ask(Verb.LOOK, 0.0))
    connection.execute(
        "update plainstack.lease set (holder, tenure, beat, failures, tick) = (%s, %s, %s, %s, %s)",
        (row.holder, row.tenure, row.beat, row.failures, row.tick),
    )
    answer = database._do(connection, known, ask)
    wanted = changed(row, ask, "app3", tenure)
    assert (replace(answer, since="") if answer else None) == wanted
    left = database._do(connection, known, Ask(Verb.LOOK, 0.0))
    assert left is not None
    assert replace(left, since="") == (wanted or row)
