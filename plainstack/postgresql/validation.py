"""Errors in the key `database` that its model cannot detect."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.inventory.stack import Stack
from plainstack.postgresql.settings import Database
from plainstack.postgresql.sql import BARMAN_SLOT
from plainstack.wording import Loc

_DATABASES = {
    "postgres": "it is PostgreSQL's own database, in which administrators and Barman work",
    "template0": "it is the template that PostgreSQL makes databases from",
    "template1": "it is the template that PostgreSQL makes databases from",
    **dict.fromkeys(("all", "sameuser", "samerole", "samegroup", "replication"), "it is a keyword of pg_hba.conf"),
    **dict.fromkeys(
        ("barman", "streaming_barman", "replicator", "rewinder", "postgres_exporter"),
        "Plainstack has a database account of that name",
    ),
}

# PostgreSQL 17, Appendix C: reserved words, including those allowed as function or type names.
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


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the description of each error."""
    hosts = stack.with_role("db")
    database = stack.given(Database)
    if hosts and database is None:
        yield (), "database: is missing, but a host has the role db; add: database: {name: NAME}"
    for host in hosts:
        if host.name == BARMAN_SLOT:
            loc = ("hosts", host.name)
            yield loc, f"hosts.{host.name}: a db host cannot be called {host.name}: it is the name of Barman's slot"
    if database is not None and (why := reserved(database.name)):
        name = database.name
        yield (
            ("database", "name"),
            f"database.name: a database cannot be called {name}: {why}; choose another name",
        )


def reserved(name: str) -> str:
    """Return why a database cannot have this name; empty if it can."""
    if name in _DATABASES:
        return _DATABASES[name]
    if name.startswith("pg_"):
        return "PostgreSQL reserves names that begin with pg_"
    return "it is a reserved word of SQL" if name in _SQL else ""
