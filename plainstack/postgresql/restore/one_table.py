"""One table or database out of a backup: a scratch cluster gives it its new name, and the primary dumps it from there.

With the new name already in the scratch cluster, the text of the dump need not be changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from shlex import quote

from plainstack.errors import PlainstackError, Refused
from plainstack.paths import TLS
from plainstack.postgresql.layout import AS_POSTGRES
from plainstack.postgresql.restore import scratch
from plainstack.postgresql.shell_paths import BIN, DATA

SCRATCH = "one-table"
# What a database is called until all of it is there.
UNFINISHED = "plainstack_restoring"
_DUMPER = "plainstack_dump"
_PSQL = "psql -XAtq -v ON_ERROR_STOP=1"
# Beside the data itself, the primary writes it to its WAL.
_ROOM = 2
_SPARE = 512 * 2**20


@dataclass(frozen=True)
class Table:
    """A table of the stack's database, and the name that its copy gets; names are as in the catalog, unquoted."""

    database: str
    schema: str
    name: str
    into_schema: str
    into: str

    @property
    def says(self) -> str:
        return f"table {self.schema}.{self.name}"

    @property
    def becomes(self) -> str:
        return f"table {self.into_schema}.{self.into}"


@dataclass(frozen=True)
class Database:
    """A database, and the name that its copy gets."""

    name: str
    into: str

    @property
    def says(self) -> str:
        return f"database {self.name}"

    @property
    def becomes(self) -> str:
        return f"database {self.into}"


@dataclass(frozen=True)
class Prepared:
    """What can be dumped: its size in bytes, and what is left out of it, such as foreign keys."""

    size: int
    left_out: tuple[str, ...]


def chosen(stack_database: str, table: str, database: str, into: str) -> Table | Database:
    """Return what the options --table, --database and --into mean. Raises Refused."""
    if bool(table) == bool(database):
        raise Refused("name either a table, --table=public.orders, or a database, --database=NAME")
    if database:
        name, new = _word("--database", database), _word("--into", into or f"{database}_restored")
        if name == new:
            raise Refused(f"--into={new}: the copy needs another name than the database has")
        return Database(name, new)
    schema, name = _qualified("--table", table, "public")
    into_schema, new = _qualified("--into", into or f"{schema}.{name}_restored", schema)
    if (schema, name) == (into_schema, new):
        raise Refused(f"--into={into}: the copy needs another name than the table has")
    return Table(stack_database, schema, name, into_schema, new)


def _qualified(option: str, text: str, default: str) -> tuple[str, str]:
    schema, dot, name = text.rpartition(".")
    return (_word(option, schema) if dot else default), _word(option, name)


def _word(option: str, text: str) -> str:
    if not re.fullmatch(r"[^\s\"'.;:\\]+", text) or len(text.encode()) > 63:
        raise Refused(f"{option}={text}: not a name, such as public.orders (without quotes, at most 63 bytes)")
    return text


def start_script(backup: str, options: tuple[str, ...]) -> str:
    """Return shell code for the backup host that recovers a fresh cluster; `options` name the moment."""
    words = " ".join(quote(word) for word in (f"--backup={backup}", *options))
    # An earlier run may have left one in which names are already changed.
    return f"{scratch.stop_script(SCRATCH)}/usr/bin/python3 -I {scratch.PROGRAM} start {SCRATCH} {words} --dump\n"


def exists_script(wanted: Table | Database) -> str:
    """Return shell code for the primary that prints t if the copy's name is taken, and f if it is free.

    It prints `no schema` if the schema of the copy does not exist.
    """
    if isinstance(wanted, Database):
        return _on_primary("postgres", "select exists (select from pg_database where datname = :'into');", wanted)
    text = (
        "select case when to_regnamespace(quote_ident(:'into_schema')) is null then 'no schema'"
        " else (to_regclass(format('%I.%I', :'into_schema', :'into')) is not null)::text end;"
    )
    return _on_primary(wanted.database, text, wanted)


def _on_primary(database: str, text: str, wanted: Table | Database) -> str:
    return f"{AS_POSTGRES} {BIN}/{_PSQL} {_variables(wanted)} -d {quote(database)} <<'END'\n{text}\nEND\n"


def _variables(wanted: Table | Database) -> str:
    return " ".join(f"-v {key}={quote(value)}" for key, value in vars(wanted).items())


def prepare_script(wanted: Table | Database) -> str:
    """Return shell code for the backup host that renames the table or database in the scratch cluster.

    It prints JSON for `prepared`; it fails with a sentence if there is no such table at that moment.
    """
    where = f"host={scratch.FOLDER}/{SCRATCH}/socket port={scratch.PORT} user=postgres"
    if isinstance(wanted, Database):
        database, text = "postgres", _RENAME_DATABASE
    else:
        database, text = wanted.database, _RENAME_TABLE
    conninfo = f"{where} dbname={database} options='-c event_triggers=off -c client_min_messages=warning'"
    return f"{BIN}/{_PSQL} {_variables(wanted)} -d {quote(conninfo)} <<'END'\n{text}END\n"


def copy_script(wanted: Table | Database, backup_host: str, size: int) -> str:
    """Return shell code for the primary that copies the renamed table or database from the scratch cluster.

    It prints how many rows were copied, or nothing for a database. If it fails, nothing of the copy remains.
    """
    files = f"sslcert={TLS}/host.crt sslkey={TLS}/host.key sslrootcert={TLS}/ca.crt"
    source = f"host={backup_host} port={scratch.PORT} user={_DUMPER} sslmode=verify-full {files} connect_timeout=5"
    needed = size * _ROOM + _SPARE
    return f"""\
set -eu
free=$(df --output=avail -B1 {DATA} | tail -n 1)
if [ "$free" -lt {needed} ]; then
    echo "the disk of the primary is too small: {needed // 2**20} MB are needed, $((free / 1048576)) MB are free" >&2
    exit 1
fi
cd /
done=$(mktemp -d)
trap 'rm -r "$done"' EXIT
chown postgres "$done"
{_copy_database(wanted, source) if isinstance(wanted, Database) else _copy_table(wanted, source)}"""


_DUMP = f"{AS_POSTGRES} {BIN}/pg_dump --no-publications --no-subscriptions --no-password"


def _copy_table(wanted: Table, source: str) -> str:
    pattern = quote(f'"{wanted.into_schema}"."{wanted.into}"')
    conninfo = quote(f"{source} dbname={wanted.database}")
    # Without the commit, a dump that ended early leaves nothing.
    return f"""\
{{
    echo 'begin;'
    ! {_DUMP} --table={pattern} -d {conninfo} 2>"$done/error" || {{ echo 'commit;' && touch "$done/dumped"; }}
}} | {AS_POSTGRES} {BIN}/psql -XAt -v ON_ERROR_STOP=1 -d {quote(wanted.database)} >"$done/said" 2>"$done/refused" &&
    [ -e "$done/dumped" ] || {{ cat "$done/error" "$done/refused" >&2; exit 1; }}
sed -n 's/^COPY //p' "$done/said" | tail -n 1
"""


def _copy_database(wanted: Database, source: str) -> str:
    conninfo = quote(f"{source} dbname={UNFINISHED}")
    return f"""\
psql="{AS_POSTGRES} {BIN}/{_PSQL} -d postgres"
$psql -c 'drop database if exists {UNFINISHED}' 2>/dev/null
{{ ! {_DUMP} --create -d {conninfo} 2>"$done/error" || touch "$done/dumped"; }} |
    {AS_POSTGRES} {BIN}/{_PSQL} -d postgres >"$done/said" 2>"$done/refused" && [ -e "$done/dumped" ] || {{
    $psql -c 'drop database if exists {UNFINISHED}' 2>/dev/null
    cat "$done/error" "$done/refused" >&2
    exit 1
}}
$psql -v into={quote(wanted.into)} <<'END'
alter database {UNFINISHED} rename to :"into";
END
"""


def prepared(text: str) -> Prepared:
    """Return what `prepare_script` printed. Raises PlainstackError."""
    try:
        data = json.loads(text.strip().split("\n")[-1])
        return Prepared(int(data["size"]), tuple(data["left_out"]))
    except (KeyError, TypeError, ValueError):
        raise PlainstackError(f"not the description of a table or database: {text[-200:]!r}") from None


_RENAME_DATABASE = """\
select not exists (select from pg_database where datname = :'name') as missing \\gset
\\if :missing
\\warn there is no such database at that moment
select 1/0;
\\endif
alter database :"name" rename to plainstack_restoring;
select json_build_object('size', pg_database_size('plainstack_restoring'), 'left_out', '[]'::json);
"""

_RENAME_TABLE = """\
select set_config('one.schema', :'schema', false), set_config('one.name', :'name', false),
 set_config('one.into_schema', :'into_schema', false), set_config('one.into', :'into', false) \\gset ignored_
create temporary table left_out (what text);
do $$
declare
    wanted text := format('%I.%I', current_setting('one.schema'), current_setting('one.name'));
    source regclass := to_regclass(wanted);
    old text := current_setting('one.name');
    new text := current_setting('one.into');
    one record;
begin
    if source is null then
        raise exception 'there is no table % at that moment', wanted;
    elsif (select relkind from pg_class where oid = source) = 'p' then
        raise exception '% is partitioned; restore its partitions one by one, or the whole database', wanted;
    elsif (select relkind from pg_class where oid = source) <> 'r' then
        raise exception '% is not a table', wanted;
    end if;
    for one in select conname from pg_constraint where conrelid = source and contype = 'f' loop
        insert into left_out values ('foreign key ' || one.conname);
        execute format('alter table %s drop constraint %I', source, one.conname);
    end loop;
    for one in select tgname from pg_trigger where tgrelid = source and not tgisinternal loop
        insert into left_out values ('trigger ' || one.tgname);
        execute format('drop trigger %I on %s', one.tgname, source);
    end loop;
    for one in select rulename from pg_rewrite where ev_class = source loop
        insert into left_out values ('rule ' || one.rulename);
        execute format('drop rule %I on %s', one.rulename, source);
    end loop;
    for one in select inhparent::regclass as parent, relispartition from pg_inherits join pg_class c on c.oid = inhrelid
     where inhrelid = source loop
        insert into left_out values ('its place below ' || one.parent);
        execute case when one.relispartition then format('alter table %s detach partition %s', one.parent, source)
            else format('alter table %s no inherit %s', source, one.parent) end;
    end loop;
    -- The names of indexes and sequences are those of the living table, so the copy needs others.
    for one in
        select oid, relname, relkind, case when left(relname, length(old)) = old
            then new || substr(relname, length(old) + 1) else new || '_' || relname end as name
        from pg_class where oid in (select indexrelid from pg_index where indrelid = source)
        or relkind = 'S' and oid in (select objid from pg_depend where refobjid = source
         and classid = 'pg_class'::regclass and deptype in ('a', 'i'))
    loop
        if octet_length(one.name) > 63 then
            one.name := left(new, 20) || '_' || md5(one.relname);
        end if;
        execute format('alter %s %s rename to %I', case one.relkind when 'S' then 'sequence' else 'index' end,
            one.oid::regclass, one.name);
    end loop;
    for one in select format('%I.%I', nspname, stxname) as what, stxname from pg_statistic_ext
     join pg_namespace n on n.oid = stxnamespace where stxrelid = source loop
        insert into left_out values ('extended statistics ' || one.stxname);
        execute format('drop statistics %s', one.what);
    end loop;
    execute format('create schema if not exists %I', current_setting('one.into_schema'));
    execute format('drop table if exists %I.%I cascade', current_setting('one.into_schema'), new);
    execute format('alter table %s rename to %I', source, new);
    if current_setting('one.schema') <> current_setting('one.into_schema') then
        execute format('alter table %s set schema %I', source, current_setting('one.into_schema'));
    end if;
end
$$;
select json_build_object(
 'size', pg_total_relation_size(format('%I.%I', :'into_schema', :'into')::regclass),
 'left_out', (select coalesce(json_agg(what), '[]') from left_out));
"""
