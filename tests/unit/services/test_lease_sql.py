"""The statements of the lease change its row as the simulation does, in a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import database
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lease import FREE, Ask, Row, Verb

from tests.unit.services.lease_database import changed

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [pytest.mark.programs, pytest.mark.skipif(not SERVERS, reason="needs a PostgreSQL server")]

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
    """Start a server that only this test uses, in a folder whose name is short enough for a socket."""
    who = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    if who:
        shutil.chown(folder, who)

    def run(*words: str | Path) -> None:
        subprocess.run(words, user=who, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    control = [str(SERVERS[-1].with_name("pg_ctl")), "--pgdata=data", "--wait"]
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    try:
        run(SERVERS[-1], "--username=test", "--no-sync", "--auth=trust", "data")
        run(*control, f"--options={options}", "--log=log", "start")
        try:
            there = f"host={folder} user=test dbname=postgres"
            with psycopg.connect(there, autocommit=True, cursor_factory=psycopg.ClientCursor) as found:
                yield found
        finally:
            run(*control, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


@given(row=ROWS, ask=ASKS, same=st.booleans(), tenure=st.sampled_from(["app1 1", "app2 1"]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
