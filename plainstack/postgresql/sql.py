"""The cluster's roles, grants and slots, and a query that checks whether the cluster has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache

from plainstack.dataclass import dataclass
from plainstack.inventory.stack import Stack
from plainstack.postgresql.settings import Database
from plainstack.secrets.values import Secret, Vault, scram_verifier

OWNER = "app"
# The two accounts that the applications log in as, alternately. PostgreSQL stores one password per role, so during a
# rotation the old account keeps working until the last application uses the new one. Both act as the owner.
LOGINS = ("app_a", "app_b")
BARMAN_SLOT = "barman"
# A row of it is written before every backup, and a restore test looks for the row.
MARKERS = "backup_marker"

_REWIND = (
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
)
_BACKUP = (
    "pg_catalog.pg_backup_start(text, boolean)",
    "pg_catalog.pg_backup_stop(boolean)",
    "pg_catalog.pg_switch_wal()",
    "pg_catalog.pg_create_restore_point(text)",
)


@dataclass(frozen=True)
class DatabaseRole:
    """A role of the cluster; without a `verifier` it can only log in by peer authentication.

    Sessions of a role that `acts_as` another role have the rights of that role, which also owns what they create.
    It may add rows to the tables that it `writes`, which are in the schema plainstack of the database postgres.
    """

    name: str
    verifier: Secret | None
    replication: bool = False
    member_of: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    login: bool = True
    acts_as: str = ""
    writes: tuple[str, ...] = ()


def password_name(role: str) -> str:
    """Return the name of a role's password in the vault."""
    return f"postgres/{role}"


def login(vault: Vault) -> str:
    """Return the account that the applications log in as, selected by the number of handovers."""
    return LOGINS[vault.handovers.get(password_name(OWNER), 0) % len(LOGINS)]


def _logins(vault: Vault) -> Iterator[DatabaseRole]:
    """Yield both accounts; the unused one has its previous password only while an application may still use it."""
    before = vault.previous.get(password_name(OWNER))
    for name in LOGINS:
        password = vault.password(password_name(OWNER)) if name == login(vault) else before
        verifier = _verifier(password) if password else None
        yield DatabaseRole(name, verifier, member_of=(OWNER,), acts_as=OWNER)


def roles(stack: Stack, vault: Vault) -> tuple[DatabaseRole, ...]:
    """Return the roles that the stack's hosts log in as, each with the least privileges it needs."""

    def verifier(name: str) -> Secret:
        return _verifier(vault.password(password_name(name)))

    wanted = [
        DatabaseRole("replicator", verifier("replicator"), replication=True),
        DatabaseRole("rewinder", verifier("rewinder"), execute=_REWIND),
        DatabaseRole(OWNER, None, login=False),
        *_logins(vault),
        DatabaseRole("postgres_exporter", None, member_of=("pg_monitor",)),
    ]
    if stack.with_role("backup"):
        # All data: Barman has every byte of it anyway, and a restore test compares it with what was restored.
        reads = ("pg_read_all_settings", "pg_read_all_stats", "pg_read_all_data", "pg_checkpoint")
        wanted += [
            DatabaseRole("barman", verifier("barman"), member_of=reads, execute=_BACKUP, writes=(MARKERS,)),
            DatabaseRole("streaming_barman", verifier("streaming_barman"), replication=True),
        ]
    return tuple(wanted)


def slot_name(host: str) -> str:
    """Return the replication slot of a db host; '-' is allowed in host names but not in slot names."""
    return host.replace("-", "_")


def databases(stack: Stack) -> tuple[str, ...]:
    """Return the databases that app hosts may connect to, the configured one first."""
    return (stack.settings(Database).name, *stack.still.databases)


def slots(stack: Stack, host: str) -> tuple[str, ...]:
    """Return the slots that a db host needs when it is the primary: one for every other db host, and Barman's."""
    names = [slot_name(peer.name) for peer in stack.with_role("db") if peer.name != host]
    return (*names, BARMAN_SLOT) if stack.with_role("backup") else tuple(names)


def synchronous_names(stack: Stack) -> str:
    """Return synchronous_standby_names: any one db host must confirm a write; empty if none must."""
    names = [host.name for host in stack.with_role("db")]
    if len(names) < 2 or stack.given(Database) is None or not stack.settings(Database).synchronous:
        return ""
    return "ANY 1 ({})".format(", ".join(f'"{name}"' for name in names))


def is_configured(database: str, wanted_roles: Iterable[DatabaseRole], wanted_slots: Iterable[str]) -> str:
    """Return a query that prints t if the slots and, on the primary, the roles, grants and database are as wanted.

    The query contains hashes of the verifiers, because it is visible in the host's process list.
    """
    wanted_roles, wanted_slots = tuple(wanted_roles), tuple(wanted_slots)
    rows = [
        f"('{role.name}', '{_hash(role.verifier)}', {role.replication}, {role.login}, '{role.acts_as}')"
        for role in wanted_roles
    ]
    grants = [
        *(f"pg_has_role('{role.name}', '{group}', 'usage')" for role in wanted_roles for group in role.member_of),
        *(
            f"has_function_privilege('{role.name}', '{function}', 'execute')"
            for role in wanted_roles
            for function in role.execute
        ),
        *(
            f"coalesce(has_table_privilege('{role.name}', to_regclass('plainstack.{table}'), 'insert'), false)"
            for role in wanted_roles
            for table in role.writes
        ),
    ]
    slot_array = ", ".join(f"'{name}'" for name in wanted_slots)
    return f"""\
select (select count(*) from pg_replication_slots where slot_type = 'physical'
 and invalidation_reason is null and slot_name = any (array[{slot_array}]::text[])) = {len(wanted_slots)}
and (pg_is_in_recovery() or (
(select count(*) from pg_authid join (values {", ".join(rows)}) wanted (name, hash, replication, login, acts_as)
 on rolname = name and rolreplication = replication and rolcanlogin = login and rolinherit
 and not (rolsuper or rolcreaterole or rolcreatedb or rolbypassrls)
 and rolconnlimit = -1 and coalesce(rolvaliduntil, 'infinity') = 'infinity'
 and encode(sha256(convert_to(coalesce(rolpassword, ''), 'UTF8')), 'hex') = hash
 and coalesce((select string_agg(setting, ' ') from pg_db_role_setting, unnest(setconfig) setting
  where setrole = pg_authid.oid and setdatabase = 0 and setting like 'role=%'), 'role=') = 'role=' || acts_as)
 = {len(rows)}
and exists (select from pg_database join pg_roles on pg_roles.oid = datdba
 where datname = '{database}' and rolname = '{OWNER}')
and to_regclass('plainstack.heartbeat') is not null
and {" and ".join(grants)}))"""  # noqa: S608 - every name comes from the inventory's models or from this module


# Cached: a verifier is slow to compute by design, and needed several times for every db host.
_verifier = cache(scram_verifier)


def _hash(verifier: Secret | None) -> str:
    return hashlib.sha256((verifier.reveal() if verifier else "").encode()).hexdigest()
