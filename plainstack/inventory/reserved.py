"""Names that an inventory cannot give away, because they mean something else on the hosts, with the reason."""

from __future__ import annotations

# What certificates and /etc/hosts call other things.
HOSTS = (
    "authority",
    "site",
    "localhost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-allnodes",
    "ip6-allrouters",
)

# Barman's configuration calls its cluster as the stack is called.
STACKS = {
    "all": "Barman reads it as every cluster",
    "barman": "it is the name of the global section of Barman's configuration",
}

# A service's unit is plainstack-NAME, and so are these of Plainstack's own; the guard's have a run's number behind it.
OWN_UNITS = (
    "backup",
    "backup-metrics",
    "barman-cron",
    "barman-receive-wal",
    "firewall",
    "guard",
    "undo",
    "upstreams",
)
OWN_UNIT_FAMILIES = ("guard-",)

# Debian's base-passwd and systemd, and the accounts of the packages that roles install.
_ACCOUNTS = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody sshd messagebus systemd-
network systemd-timesync systemd-resolve adm tty disk sudo shadow staff users ssl-cert nginx angie postgres barman
prometheus keepalived haproxy
"""
SYSTEM_ACCOUNTS = frozenset(_ACCOUNTS.split())

_DATABASES = {
    "postgres": "it is PostgreSQL's own database, in which administrators and Barman work",
    "template0": "it is the template that PostgreSQL makes databases from",
    "template1": "it is the template that PostgreSQL makes databases from",
    **dict.fromkeys(
        ("all", "sameuser", "samerole", "samegroup", "replication"), "it is a word of PostgreSQL's pg_hba.conf"
    ),
    **dict.fromkeys(
        ("barman", "streaming_barman", "replicator", "rewinder", "postgres_exporter"),
        "it is an account of Plainstack's own in the database",
    ),
}

# PostgreSQL 17, Appendix C: reserved, also those that can be function or type names.
_SQL_WORDS = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
returning right select session_user similar some symmetric system_user table tablesample then to trailing true union
unique user using variadic verbose when where window with
"""
_SQL = frozenset(_SQL_WORDS.split())


def database(name: str) -> str:
    """Why a database cannot have this name; empty when it can."""
    if name in _DATABASES:
        return _DATABASES[name]
    if name.startswith("pg_"):
        return "PostgreSQL keeps names that begin with pg_ to itself"
    return "it is a reserved word of SQL" if name in _SQL else ""


def service(name: str) -> str:
    """Why a service cannot have this name; empty when it can."""
    if name in OWN_UNITS or name.startswith(OWN_UNIT_FAMILIES):
        return f"plainstack-{name} is a unit of Plainstack's own"
    if name in SYSTEM_ACCOUNTS:
        return "it is the name of a system account"
    return ""
