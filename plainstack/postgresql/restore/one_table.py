"""One table or database out of a backup: it is renamed in a scratch cluster, and the primary dumps it from there.

Because it already has its new name there, the text of the dump need not be changed.
"""

from __future__ import annotations

import json
import re
from shlex import quote

from plainstack.dataclass import dataclass
from plainstack.errors import PlainstackError, Refused
from plainstack.postgresql.layout import AS_POSTGRES
from plainstack.postgresql.restore import renaming, scratch
from plainstack.postgresql.shell_paths import BIN, DATA

SCRATCH = "one-table"
_DUMPER = "plainstack_dump"
_PSQL = "psql -XAtq -v ON_ERROR_STOP=1"
# The primary writes the data to its WAL, too.
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
            raise Refused(f"--into={new}: the copy must not have the name of the database")
        return Database(name, new)
    schema, name = _qualified("--table", table, "public")
    into_schema, new = _qualified("--into", into or f"{schema}.{name}_restored", schema)
    if (schema, name) == (into_schema, new):
        raise Refused(f"--into={into}: the copy must not have the name of the table")
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
    # An earlier run may have left one in which names are already changed.
    return scratch.stop_script(SCRATCH) + scratch.start_script(SCRATCH, (f"--backup={backup}", *options, "--dump"))


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
        database, text = "postgres", renaming.DATABASE
    else:
        database, text = wanted.database, renaming.TABLE
    conninfo = f"{where} dbname={database} options='-c event_triggers=off -c client_min_messages=warning'"
    return f"{BIN}/{_PSQL} {_variables(wanted)} -d {quote(conninfo)} <<'END'\n{text}END\n"


def copy_script(wanted: Table | Database, backup_host: str, size: int) -> str:
    """Return shell code for the primary that copies the renamed table or database from the scratch cluster.

    It prints how many rows were copied, or nothing for a database. If it fails, nothing of the copy remains.
    """
    source = scratch.conninfo(backup_host, _DUMPER)
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
    conninfo = quote(f"{source} dbname={renaming.UNFINISHED}")
    return f"""\
psql="{AS_POSTGRES} {BIN}/{_PSQL} -d postgres"
$psql -c 'drop database if exists {renaming.UNFINISHED}' 2>/dev/null
{{ ! {_DUMP} --create -d {conninfo} 2>"$done/error" || touch "$done/dumped"; }} |
    {AS_POSTGRES} {BIN}/{_PSQL} -d postgres >"$done/said" 2>"$done/refused" && [ -e "$done/dumped" ] || {{
    $psql -c 'drop database if exists {renaming.UNFINISHED}' 2>/dev/null
    cat "$done/error" "$done/refused" >&2
    exit 1
}}
$psql -v into={quote(wanted.into)} <<'END'
alter database {renaming.UNFINISHED} rename to :"into";
END
"""


def prepared(text: str) -> Prepared:
    """Return what `prepare_script` printed. Raises PlainstackError."""
    try:
        data = json.loads(text.strip().split("\n")[-1])
        return Prepared(int(data["size"]), tuple(data["left_out"]))
    except (KeyError, TypeError, ValueError):
        raise PlainstackError(f"not the description of a table or database: {text[-200:]!r}") from None
