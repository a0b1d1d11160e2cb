"""PostgreSQL with streaming replication. All db hosts get the same files; which one is primary is observed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Any

from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Command, Directory, Listen, Package, Resource, Unit, Validation
from plainstack.engine.role import Column, DeclaredSecret, HostWork, Leftover, Opening, Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import Target
from plainstack.paths import TLS
from plainstack.postgresql import shell_paths, sql
from plainstack.postgresql.layout import (
    AS_POSTGRES,
    BIN,
    DATA,
    ETC,
    FENCED,
    PASSFILE,
    PORT,
    RESTORING,
    REWINDING,
    START_GUARD,
    UNIT,
    VERSION,
)
from plainstack.postgresql.layout import CLUSTERS as DATA_FOLDER
from plainstack.postgresql.preflight import refusals
from plainstack.postgresql.readmission import readmit
from plainstack.postgresql.settings import Database
from plainstack.postgresql.status import status
from plainstack.postgresql.topology import members, primaries
from plainstack.postgresql.validation import contradictions
from plainstack.roles.db.references import REFERENCES
from plainstack.roles.db.seen import facts, findings, still_served, transition
from plainstack.roles.db.watched import EXPORTER_PORT, rules, scrapes
from plainstack.roles.shared.exporter import exporter
from plainstack.secrets.values import Vault
from plainstack.shell import await_condition

_ACCOUNTS = ("replicator", "rewinder", "barman", "streaming_barman")
_AT = {"version": VERSION}
_BOOTSTRAP = "/usr/local/lib/plainstack/db-bootstrap"
_SQL = f"{ETC}/plainstack.sql"
_PSQL = f"{AS_POSTGRES} {shell_paths.BIN}/psql -XAtq"
_LIMIT = "lower-limit"
_WHO_MAY_CONNECT = (f"{ETC}/pg_hba.conf", f"{ETC}/pg_ident.conf")
_RELOADED = (*_WHO_MAY_CONNECT, f"{ETC}/conf.d/20-reload.conf", f"{ETC}/conf.d/30-replication.conf")
_RESTARTED = (f"{ETC}/postgresql.conf", f"{ETC}/conf.d/10-restart.conf")

# A reload with an invalid file succeeds and changes nothing; only these views show the errors. A setting that waits
# for a restart is not an error, whatever changed it (ALTER SYSTEM, another file): `findings` reports it.
_ERRORS = """\
select concat('pg_hba.conf:', line_number, ': ', error) from pg_hba_file_rules where error is not null
union all select concat('pg_ident.conf:', line_number, ': ', error) from pg_ident_file_mappings where error is not null
union all select concat(sourcefile, ':', sourceline, ': ', name, ': ', error) from pg_file_settings as line
 where error is not null and error not like '%cannot be changed without restarting the server'
 and not exists (select from pg_settings where pg_settings.name = line.name and pending_restart)"""

# Test the settings as initdb does: start a server in a scratch data directory, up to the allocation of its memory.
_TRY_SETTINGS = f"""\
scratch=$({AS_POSTGRES} mktemp -d)
trap 'rm -r "$scratch"' EXIT
{AS_POSTGRES} mkdir "$scratch/global" "$scratch/pg_notify"
{AS_POSTGRES} touch "$scratch/global/pg_control" "$scratch/postgresql.auto.conf"
echo {VERSION} >"$scratch/PG_VERSION"
{AS_POSTGRES} {BIN}/postgres --check -D "$scratch" -c config_file={ETC}/postgresql.conf -c data_directory="$scratch"
"""


def desired(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of the role db."""
    yield from _packages()
    yield from _files(stack, host, vault, network)
    yield from _server(stack, host, vault)
    arguments = verbatim("db", "/etc/default/prometheus-postgres-exporter")
    yield from exporter(network, host, "db", arguments, EXPORTER_PORT)


def opens(_stack: Stack, _host: Host) -> Iterator[Opening]:
    """Open PostgreSQL, with an offer for each type of login (see pg_hba.conf), and its exporter."""
    for offer in ("replication", "application", "backup", "port"):
        yield Opening(offer, PORT, "tcp", "postgresql: {user}")
    yield Opening("metrics", EXPORTER_PORT, "tcp", "postgres exporter: {user}")


def leaves(_stack: Stack, _host: Host) -> Iterator[Leftover]:
    """Yield the folder of the clusters, and that of their log."""
    # The account postgres is a member of the group of ssl-cert. It joins it only when it is made.
    yield Leftover("/var/lib/postgresql", "the databases", packages=("postgresql*", "ssl-cert"))
    yield Leftover("/var/log/postgresql", "PostgreSQL's log", packages=("postgresql*",))


def tunnels(stack: Stack) -> Iterator[Target]:
    """Yield the PostgreSQL port of the first db host."""
    yield Target("", "", (stack.with_role("db")[0].name,), (), PORT)


def turns(_stack: Stack, work: Mapping[str, HostWork]) -> list[list[str]]:
    """Return the hosts whose PostgreSQL restarts, in order: standbys first, to keep bad settings from the primary.

    If the connection limit is lowered, the primary restarts first, because a standby does not start with a lower limit
    than its primary's.
    """
    restarting = [host for host, here in work.items() if ("restart", UNIT) in here.units]
    leading = {member.name for member in primaries(members(work, {host: here.facts for host, here in work.items()}))}
    lowered = any(_LIMIT in here.commands for here in work.values())
    return [[host] for host in sorted(restarting, key=lambda host: (host in leading) != lowered)]


def _packages() -> Iterator[Resource]:
    # Early: without this file, the package would create a cluster.
    yield verbatim("db", "/etc/postgresql-common/createcluster.d/plainstack.conf", early=True)
    yield Package(name=f"postgresql-{VERSION}")
    # for pgrep, with which a failover checks whether a server runs
    yield Package(name="procps")


def _anywhere(path: str) -> str:
    """Return a path with the placeholder {version} in place of the version, as in the paths of templates."""
    return path.replace(f"/{VERSION}/", "/{version}/")


def _files(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    db_hosts = stack.with_role("db")
    values: dict[str, Any] = {
        "host": host,
        "database": stack.given(Database),
        "databases": sql.databases(stack),
        "data": DATA,
        "bin": BIN,
        "etc": ETC,
        "fenced": FENCED,
        "rewinding": REWINDING,
        "restoring": RESTORING,
        "as_postgres": AS_POSTGRES,
        "tls": TLS,
        "app_role": sql.OWNER,
        "logins": sql.LOGINS,
        "db_hosts": db_hosts,
        "replicating": network.users("db.replication"),
        "applications": network.users("db.application"),
        "backing_up": network.users("db.backup"),
        "peers": [peer.name for peer in db_hosts if peer.name != host.name],
        "first": host.name == db_hosts[0].name,
        "slot": sql.slot_name(host.name),
        "slots": sql.slots(stack, host.name),
        "synchronous_standby_names": sql.synchronous_names(stack),
        "roles": sql.roles(stack, vault),
        # The error of a client that a fence refuses. ICMPv6 has no message with the meaning of the one used for IPv4.
        "fenced_off": "Permission denied" if host.address.version == 6 else "Protocol not available",
        "passwords": {name: vault.password(sql.password_name(name)) for name in ("replicator", "rewinder")},
    }
    for folder in (ETC.rpartition("/")[0], ETC, f"{ETC}/conf.d", DATA_FOLDER):
        yield Directory(path=folder, owner="postgres", group="postgres")
    for path in (*_RESTARTED, *_RELOADED):
        mode = 0o640 if path in _WHO_MAY_CONNECT else 0o644
        yield template("db", _anywhere(path), at=_AT, mode=mode, owner="postgres", group="postgres", **values)
    for path in (_SQL, PASSFILE):
        yield template("db", _anywhere(path), at=_AT, mode=0o600, owner="postgres", group="postgres", **values)
    # postgresql-common reads this file to decide whether to start the cluster at boot.
    yield verbatim("db", _anywhere(f"{ETC}/start.conf"), at=_AT, owner="postgres", group="postgres")
    yield template("db", _BOOTSTRAP, mode=0o755, **values)
    yield template("db", START_GUARD, mode=0o755, **values)


def _server(stack: Stack, host: Host, vault: Vault) -> Iterator[Resource]:
    yield Validation(
        name="postgres",
        run=_TRY_SETTINGS,
        reads=(f"{ETC}/postgresql.conf", f"{ETC}/conf.d/"),
    )
    yield Command(
        name="data directory",
        why="copy the primary's data, or create a cluster if there is no primary",
        run=f"{AS_POSTGRES} {_BOOTSTRAP}",
        unless=f"test -s {DATA}/PG_VERSION",
        # The time to copy the data depends on the size of the database.
        timeout=24 * 3600,
    )
    yield verbatim("db", "/etc/systemd/system/postgresql@{version}-main.service.d/10-plainstack.conf", at=_AT)
    yield lower_limit(stack.settings(Database).max_connections)
    yield Unit(
        name=UNIT,
        # Not the whole folder: its other files belong to other roles, which may write them after this reload.
        reload_on=(*_RELOADED, *(f"{TLS}/{name}" for name in ("ca.crt", "host.crt", "host.key"))),
        restart_on=_RESTARTED,
        listens=(Listen(PORT),),
        health=f'errors=$({_PSQL}c {quote(_ERRORS)}) && [ -z "$errors" ] || {{ printf "%s\\n" "$errors"; exit 1; }}',
        timeout=120,
    )
    wanted = sql.is_configured(stack.settings(Database).name, sql.roles(stack, vault), sql.slots(stack, host.name))
    yield Command(
        name="roles and slots",
        why="replication slots, and on the primary the roles, their grants and the database",
        run=f"{_PSQL} -v ON_ERROR_STOP=1 -f {_SQL}",
        unless=f'test "$({_PSQL}c {quote(wanted)})" = t',
    )


def lower_limit(limit: int) -> Command:
    """Return a command that waits until the primary has the lower limit; a standby would not start before that."""
    allowed = f"{BIN}/pg_controldata {DATA} | sed -n 's/^max_connections setting: *//p'"
    no_more = f'test ! -e {DATA}/standby.signal || test "$({allowed})" -le {limit}'
    complaint = f"the primary still has a higher max_connections than {limit}. Deploy it first"
    return Command(
        name="connection limit",
        id=_LIMIT,
        why="wait for the primary to restart with the lower max_connections",
        run=await_condition(no_more, complaint, tries=60, pause=1),
        unless=no_more,
    )


ROLE = Role(
    name="db",
    key="database",
    settings=Database,
    contradictions=contradictions,
    desired=desired,
    opens=opens,
    uses=("db.replication", "backup.restored"),
    facts=facts,
    leaves=leaves,
    transition=transition,
    used_by=("app",),
    still_served=still_served,
    tunnels=tunnels,
    findings=findings,
    refusals=refusals,
    prepares=readmit,
    status=Column("database", 1, status),
    scrapes=scrapes,
    rules=rules,
    after=("firewall",),
    turns=turns,
    provides=REFERENCES,
    secrets=(
        *(DeclaredSecret(sql.password_name(name)) for name in _ACCOUNTS),
        DeclaredSecret(sql.password_name(sql.OWNER), "handover"),
    ),
)
