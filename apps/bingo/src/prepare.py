"""prepare_db: fill the tables, in parts. A part is stored as a whole, so that an interrupted run goes on after it."""

from __future__ import annotations

import time

import psycopg
from config import Config
from database import Row, connect
from say import complain, say

PARTS = 100
# Two runs at the same time would fill the same part. It is any number that other programs do not use.
LOCK = 8_614_021

TABLES = """
create table if not exists customers (id bigint not null, name text not null, joined date not null);
create table if not exists sessions (
    id bigint not null, customer_id bigint not null, film text not null, began timestamptz not null
);
create table if not exists preparation (parts integer not null, customers integer not null, sessions integer not null);
"""
CUSTOMERS = """
insert into customers
select n, 'customer ' || n, date '2020-01-01' + (n %% 2000)::integer
from generate_series(%s::bigint, %s::bigint) n
"""
SESSIONS = """
insert into sessions
select n, 1 + n %% %s, 'film ' || n %% 500, timestamptz '2024-01-01' + n * interval '1 minute'
from generate_series(%s::bigint, %s::bigint) n
"""


def run(config: Config) -> int:
    """Fill the tables from where an earlier run has stopped; return the exit code."""
    try:
        with connect(config.database) as connection:
            connection.execute(TABLES)
            if not _first(connection, "select pg_try_advisory_lock(%s)", LOCK):
                complain("prepare_db is running already")
                return 1
            return _fill(connection, config)
    except psycopg.Error as error:
        complain(f"the database: {error}")
        return 1
    except KeyboardInterrupt:
        complain("interrupted; the next run goes on from here")
        return 130


def _fill(connection: psycopg.Connection[Row], config: Config) -> int:
    found = connection.execute("select parts, customers, sessions from preparation").fetchone()
    if found is None:
        connection.execute("insert into preparation values (0, %s, %s)", (config.customers, config.sessions))
        found = (0, config.customers, config.sessions)
    done, customers, sessions = found
    if done == PARTS:
        say("the tables are complete; there is nothing to do")
        return 0
    if done:
        say(f"going on after {done}%")
    began, first = time.monotonic(), done
    for part in range(done, PARTS):
        with connection.transaction():
            connection.execute(CUSTOMERS, _range(part, customers))
            connection.execute(SESSIONS, (customers, *_range(part, sessions)))
            connection.execute("update preparation set parts = %s", (part + 1,))
        say(f"{part + 1}% of customers and sessions")
        # The slowness is what this program is for.
        time.sleep(max(0, began + (part + 1 - first) * config.prepare_seconds / PARTS - time.monotonic()))
    say(f"{customers} customers and {sessions} sessions are there")
    return 0


def _range(part: int, count: int) -> tuple[int, int]:
    return part * count // PARTS + 1, (part + 1) * count // PARTS


def _first(connection: psycopg.Connection[Row], query: str, *values: object) -> object:
    row = connection.execute(query, values).fetchone()
    return row and row[0]
