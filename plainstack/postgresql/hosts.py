"""Which hosts of a stack have to do with the database, and what for."""

from __future__ import annotations

from plainstack.engine.network import Network
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack


def databases(stack: Stack) -> list[str]:
    """The hosts that PostgreSQL runs on, in the order of the inventory."""
    return [host.name for host in stack.with_role("db")]


def clients(network: Network) -> list[str]:
    """The other hosts that use the database, and shut one of its hosts out in a failover."""
    using = {host.name for offer in ("db.application", "db.backup") for host in network.users(offer)}
    return [name for name in network.stack.hosts if name in using and name not in databases(network.stack)]


def users(network: Network) -> list[str]:
    """All that use it, its own hosts among them."""
    return [*databases(network.stack), *clients(network)]


def barman_hosts(stack: Stack) -> list[str]:
    """The hosts that Barman runs on."""
    return [host.name for host in stack.with_role("backup")]


def entrances(stack: Stack) -> list[str]:
    """The hosts from which the site can be asked as its visitors do."""
    return [host.name for host in stack.with_role("balancer")]


def must_have_databases(stack: Stack) -> None:
    """Raises Refused for a stack without any."""
    if not databases(stack):
        raise Refused("no host has the role db, so there is nothing to fail over")
