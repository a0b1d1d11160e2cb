"""What the tables of a database contain: rows and an order-independent hash of each, as one snapshot sees them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

# Bytes to read of one table. Of a larger table, the same sample of its blocks is read both times.
SAMPLE = 256 * 2**20
_TABLE_SECONDS = 60
_SEED = 17
# Every value must be printed as the same text both times. An error must not end the transaction.
_SETTINGS = f"""\
\\set ON_ERROR_ROLLBACK on
set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set bytea_output = 'hex';
set extra_float_digits = 1; set lc_monetary = 'C'; set xmlbinary = 'base64'; set search_path = '';
set row_security = off; set max_parallel_workers_per_gather = 0; set statement_timeout = '{_TABLE_SECONDS}s';
"""
# A snapshot is as good as a position in the WAL if no transaction was running and nothing was written meanwhile.
_SNAPSHOT = """\
select pg_current_wal_insert_lsn() as before \\gset
begin isolation level repeatable read read only;
select pg_current_snapshot() as snapshot, pg_current_wal_insert_lsn() as lsn,
 left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) as timeline,
 pg_snapshot_xmin(pg_current_snapshot()) = pg_snapshot_xmax(pg_current_snapshot())
 and pg_current_wal_insert_lsn() = :'before' as quiet \\gset
"""
_AGAIN = f"""\
\\if :quiet
\\else
rollback;
{_SNAPSHOT}\\endif
"""
_ATTEMPTS = 10
_HEAD = """\
select json_build_object('snapshot', :'snapshot', 'lsn', :'lsn', 'timeline', :'timeline', 'quiet', :'quiet' = 't',
 'at', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'));
"""
# Only tables whose rows are in the WAL, the smallest first, so that the time limit concerns the largest ones.
_LIST = f"""\
select format('%I.%I', nspname, relname) as name,
 round(least(100, 100.0 * {SAMPLE} / greatest(pg_relation_size(c.oid), 1)), 4) as percent
 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = relnamespace
 where relkind in ('r', 'm') and relpersistence = 'p' and nspname !~ '^pg_' and nspname <> 'information_schema'
 order by pg_relation_size(c.oid), 1"""  # noqa: S608 - only constants
# The query makes the same statement for each table as `statement` does, and psql runs these.
_READ_ALL = f"""\
select format('select json_build_object(''table'', %L::text, ''percent'', %s::float8, ''rows'', count(*),'
 ' ''hash'', coalesce(sum(pg_catalog.hashtextextended(t::text, 0)), 0)::text) from only %s t%s', name, percent, name,
 case when percent < 100 then format(' tablesample system (%s) repeatable ({_SEED})', percent) end)
 from ({_LIST}) listed
\\gexec
"""  # noqa: S608 - only constants


class Unreadable(Exception):
    """The database could not be asked; the text is psql's."""


def statement(name: str, percent: float) -> str:
    """Return the statement that prints the rows and the hash of a table, of which `percent` of the blocks are read."""
    sample = f" tablesample system ({percent}) repeatable ({_SEED})" if percent < 100 else ""
    literal = name.replace("'", "''")
    return (
        f"select json_build_object('table', '{literal}'::text, 'percent', {percent}::float8,"  # noqa: S608 - quoted names
        " 'rows', count(*), 'hash', coalesce(sum(pg_catalog.hashtextextended(t::text, 0)), 0)::text)"
        f" from only {name} t{sample};\n"
    )


def record_script() -> str:
    """Return the script that prints a snapshot, if possible of a quiet moment, and the tables with their contents."""
    columns = "json_build_object('table', name, 'percent', percent)"
    listed = f"select {columns} from ({_LIST}) listed;\n"  # noqa: S608 - only constants
    return _SETTINGS + _SNAPSHOT + _AGAIN * (_ATTEMPTS - 1) + _HEAD + listed + _READ_ALL


def compare_script(tables: Iterable[tuple[str, float]]) -> str:
    """Return the script that prints the contents of tables, given as (name, percent)."""
    return _SETTINGS + "".join(statement(name, percent) for name, percent in tables)


def run(psql: Sequence[str], script: str, limit: float) -> list[dict[str, Any]]:
    """Return what a script prints within `limit` seconds, one object a line. `psql` is the command that runs it.

    Statements that fail print nothing. Raises Unreadable if nothing was printed.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        words = [*psql, "-XAtqw", "-f", "-"]
        running = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True)
        late = ""
        try:
            running.communicate(script, timeout=limit)
        except subprocess.TimeoutExpired:
            late = f"nothing was read within {limit:.0f} s"
        finally:
            running.kill()
            running.wait()
        out.seek(0)
        err.seek(0)
        found = [json.loads(line) for line in out.read().splitlines(keepends=True) if line.endswith("}\n")]
        if not found:
            raise Unreadable(late or " ".join(err.read().split()) or "nothing was printed")
    return found
