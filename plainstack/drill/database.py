"""The drill's own table, and the final read: which of the attempted writes are stored."""

from __future__ import annotations

import shlex
from collections import defaultdict
from typing import cast

from plainstack.drill.history import Kind
from plainstack.drill.load import MACHINES
from plainstack.drill.verdict import Stored
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.postgresql.layout import AS_POSTGRES, BIN
from plainstack.postgresql.settings import Database
from plainstack.ssh.session import Session

READY = f"{BIN}/pg_isready -q -t 1"

_PREPARE = """
set client_min_messages = warning;
create schema if not exists plainstack_drill;
grant usage on schema plainstack_drill to public;
create table if not exists plainstack_drill.write
 (drill text not null, kind text not null, key bigint not null, at timestamptz not null default clock_timestamp());
grant insert on plainstack_drill.write to public;
select count(*) from pg_tables where (schemaname, tablename) = ('public', 'incidents_sample');
"""

_FORGET = """
set client_min_messages = warning;
drop table if exists plainstack_drill.write;
drop schema if exists plainstack_drill;
"""


def prepare(stack: Stack, primary: Session) -> bool:
    """Make the drill's table; returns whether the application accepts samples, so that POSTs can be sent."""
    return _psql(stack, primary, _PREPARE, "make the drill's table").split()[-1:] == ["1"]


def final_read(stack: Stack, primary: Session, drill: str, *, posts: bool) -> Stored:
    """How often each key of this drill is stored."""
    query = f"select kind, key, count(*) from plainstack_drill.write where drill = '{drill}' group by 1, 2;\n"  # noqa: S608 - our own time stamp
    if posts:
        begin = f"drill-{drill}-"
        query += (
            f"select 'post', substr(key, {len(begin) + 1}), count(*) from incidents_sample"  # noqa: S608 - the same
            f" where starts_with(key, '{begin}') group by 2;\n"
        )
    stored: dict[Kind, dict[int, int]] = defaultdict(dict)
    for line in _psql(stack, primary, query, "final read").splitlines():
        kind, key, count = line.split("|")
        stored[cast(Kind, kind)][int(key)] = int(count)
    return stored


def clean_up(stack: Stack, primary: Session, *, posts: bool) -> None:
    """Remove the rows of this drill, and those that a killed drill left behind."""
    statements = _FORGET
    if posts:
        names = ", ".join(f"'drill-{number}'" for number in range(MACHINES))
        machines = f"select id from incidents_machine where name in ({names})"  # noqa: S608 - our own names
        statements += (
            f"delete from incidents_sample where starts_with(key, 'drill-') and machine_id in ({machines});\n"  # noqa: S608 - the same
            f"delete from incidents_machine m where name in ({names})"
            " and not exists (select from incidents_sample s where s.machine_id = m.id)"
            " and not exists (select from incidents_threshold t where t.machine_id = m.id)"
            " and not exists (select from incidents_incident i where i.machine_id = m.id);\n"
        )
    _psql(stack, primary, statements, "remove the drill's rows")


def _psql(stack: Stack, session: Session, statements: str, step: str) -> str:
    psql = shlex.join(
        [*AS_POSTGRES.split(), f"{BIN}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", stack.settings(Database).name]
    )
    output = session.run(f"timeout 30 {psql}", stdin=statements.encode(), timeout=40, step=step)
    if output.code != 0:
        raise HostFailed(session.host, step, "failed", output.err.splitlines()[-5:], output.code)
    return output.out
