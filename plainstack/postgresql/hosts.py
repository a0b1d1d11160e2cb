"""The hosts of a stack that are involved with the database, by purpose."""

from __future__ import annotations

from plainstack.engine.network import Network
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack


def databases(stack: Stack) -> list[str]:
    """The hosts that run PostgreSQL, in the order of the inventory."""
    return [host.name for host in stack.with_role("db")]


def clients(network: Network) -> list[str]:
    """The other hosts that use the database; in a failover they fence off a db host."""
    using = {host.name for offer in ("db.application", "db.backup") for host in network.users(offer)}
    return [name for name in network.stack.hosts if name in using and name not in databases(network.stack)]


def users(network: Network) -> list[str]:
    """All hosts that use the database, including the db hosts."""
    return [*databases(network.stack), *clients(network)]


def barman_hosts(stack: Stack) -> list[str]:
    """The hosts that run Barman."""
    return [host.name for host in stack.with_role("backup")]


def entrances(stack: Stack) -> list[str]:
    """The hosts from which the site can be requested as visitors do."""
    return [host.name for host in stack.with_role("balancer")]


def must_have_databases(stack: Stack) -> None:
    """Raises Refused for a stack without db hosts."""
    if not databases(stack):
        raise Refused("no host has the role db, so there is nothing to fail over")
