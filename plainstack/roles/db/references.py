"""The references to the database that services can use: its hosts, its name and its login."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from plainstack.engine.references import Reference
from plainstack.inventory.port_numbers import POSTGRESQL
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.postgresql import sql
from plainstack.postgresql.settings import Database
from plainstack.secrets.values import Vault

_PASSWORD = sql.password_name(sql.OWNER)
_AUTHORITY = f"{TLS}/ca.crt"


def _hosts(stack: Stack) -> list[str]:
    return [host.name for host in stack.with_role("db")]


def _url(stack: Stack, _host: Host, vault: Vault) -> str:
    """Return a libpq URL (PostgreSQL 17, section 32.1.1.2) with which any client finds the primary.

    The hosts are a parameter, because URL parsers other than libpq's allow only one host before the path.
    """
    login = f"{sql.login(vault)}:{quote(vault.password(_PASSWORD).reveal(), safe='')}"
    parameters = {
        "host": ",".join(_hosts(stack)),
        "port": str(POSTGRESQL),
        "target_session_attrs": "read-write",
        "load_balance_hosts": "random",
        "connect_timeout": "2",
        "tcp_user_timeout": "3000",
        "keepalives_idle": "2",
        "keepalives_interval": "1",
        "keepalives_count": "3",
        "sslmode": "verify-full",
        "sslrootcert": _AUTHORITY,
    }
    return f"postgresql://{login}@/{stack.settings(Database).name}?{urlencode(parameters, safe=',/')}"


REFERENCES: Mapping[str, Reference] = {
    "database.url": Reference(
        "a URL that libpq and most libraries accept, with login, hosts and TLS; it finds the primary",
        _url,
        (_PASSWORD,),
    ),
    "database.hosts": Reference(
        "the names of the db hosts, separated by commas", lambda stack, _host, _vault: ",".join(_hosts(stack))
    ),
    "database.hosts_with_ports": Reference(
        "the same, each with its port",
        lambda stack, _host, _vault: ",".join(f"{name}:{POSTGRESQL}" for name in _hosts(stack)),
    ),
    "database.port": Reference("the port of PostgreSQL", lambda _stack, _host, _vault: str(POSTGRESQL)),
    "database.name": Reference("the name of the database", lambda stack, _host, _vault: stack.settings(Database).name),
    "database.user": Reference(
        "the account to log in as; it changes when the password is rotated",
        lambda _stack, _host, vault: sql.login(vault),
    ),
    "database.password": Reference(
        "the password of that account", lambda _stack, _host, vault: vault.password(_PASSWORD).reveal(), (_PASSWORD,)
    ),
    "database.ca": Reference(
        "the file of the authority that signs the db hosts' certificates",
        lambda _stack, _host, _vault: _AUTHORITY,
    ),
}
