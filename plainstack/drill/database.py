"""The drill's own table, and the final read: which of the attempted writes are stored."""

from __future__ import annotations

import shlex
import time
from collections import defaultdict
from typing import cast

from plainstack.drill import requests
from plainstack.drill.history import Kind
from plainstack.drill.measures import Stored
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.postgresql.layout import AS_POSTGRES, BIN
from plainstack.postgresql.settings import Database
from plainstack.ssh.session import Session

READY = f"{BIN}/pg_isready -q -t 1"
SETTLED_WITHIN, PAUSE = 15.0, 0.5

_PREPARE = """
set client_min_messages = warning;
create schema if not exists plainstack_drill;
grant usage on schema plainstack_drill to public;
create table if not exists plainstack_drill.write
 (drill text not null, kind text not null, key bigint not null, at timestamptz not null default clock_timestamp());
grant insert on plainstack_drill.write to public;
"""

_FORGET = """
set client_min_messages = warning;
drop table if exists plainstack_drill.write;
drop schema if exists plainstack_drill;
"""


def prepare(stack: Stack, primary: Session) -> None:
    """Create the drill's table."""
    _psql(stack, primary, _PREPARE, "make the drill's table")


def final_read(stack: Stack, primary: Session, drill: str) -> Stored:
    """Return how often each key of this drill is stored, by kind of write."""
    query = f"select kind, key, count(*) from plainstack_drill.write where drill = '{drill}' group by 1, 2;\n"  # noqa: S608 - our own time stamp
    stored: dict[Kind, dict[int, int]] = defaultdict(dict)
    for line in _psql(stack, primary, query, "final read").splitlines():
        kind, key, count = line.split("|")
        stored[cast(Kind, kind)][int(key)] = int(count)
    if found := requests.writes(stack):
        service, request = found
        lines = _psql(stack, primary, requests.statement(request.stored, drill), f"final read of {service}")
        begin = requests.prefix(drill)
        for key in lines.splitlines():
            if key.startswith(begin) and key.removeprefix(begin).isdecimal():
                number = int(key.removeprefix(begin))
                stored["post"][number] = stored["post"].get(number, 0) + 1
    return stored


def clean_up(stack: Stack, primary: Session, drill: str) -> None:
    """Remove the rows of this drill, and those that a killed drill left behind. Raises HostFailed.

    A slow service may still store, for up to SETTLED_WITHIN seconds, what clients have stopped waiting for; a row that
    refers to one that is being removed makes the removal fail.
    """
    found = requests.writes(stack)
    statements = _FORGET + (requests.statement(found[1].clean_up, drill) if found else "")
    give_up = time.monotonic() + SETTLED_WITHIN
    while True:
        try:
            _psql(stack, primary, statements, "remove the drill's rows")
        except HostFailed:
            if time.monotonic() >= give_up:
                raise
            time.sleep(PAUSE)
        else:
            return


def _psql(stack: Stack, session: Session, statements: str, step: str) -> str:
    psql = shlex.join(
        [*AS_POSTGRES.split(), f"{BIN}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", stack.settings(Database).name]
    )
    output = session.run(f"timeout 30 {psql}", stdin=statements.encode(), timeout=40, step=step)
    if output.code != 0:
        raise HostFailed(session.host, step, "failed", output.err.splitlines()[-5:], output.code)
    return output.out
