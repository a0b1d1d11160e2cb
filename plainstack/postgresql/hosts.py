"""The hosts of a stack that take part in database operations, by purpose."""

from __future__ import annotations

from plainstack.engine.network import Network
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack


def databases(stack: Stack) -> list[str]:
    """Return the hosts that run PostgreSQL, in the order of the inventory."""
    return [host.name for host in stack.with_role("db")]


def clients(network: Network) -> list[str]:
    """Return the hosts, other than db hosts, that use the database; in a failover they fence off the old primary."""
    using = {host.name for offer in ("db.application", "db.backup") for host in network.users(offer)}
    return [name for name in network.stack.hosts if name in using and name not in databases(network.stack)]


def users(network: Network) -> list[str]:
    """Return all hosts that use the database, including the db hosts."""
    return [*databases(network.stack), *clients(network)]


def barman_hosts(stack: Stack) -> list[str]:
    """Return the hosts that run Barman."""
    return [host.name for host in stack.with_role("backup")]


def entrances(stack: Stack) -> list[str]:
    """Return the hosts from which the site can be requested as visitors do."""
    return [host.name for host in stack.with_role("balancer")]


def must_have_databases(stack: Stack, purpose: str) -> None:
    """Raise Refused if the stack has no db hosts; `purpose` follows "there is nothing to"."""
    if not databases(stack):
        raise Refused(f"no host has the role db, so there is nothing to {purpose}")
