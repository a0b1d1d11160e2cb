"""Which hosts of a stack have to do with the database, and what for."""

from __future__ import annotations

from plainstack.errors import Refused
from plainstack.inventory.stack import Stack


def databases(stack: Stack) -> list[str]:
    """The hosts that PostgreSQL runs on, in the order of the inventory."""
    return [host.name for host in stack.with_role("db")]


def clients(stack: Stack) -> list[str]:
    """The other hosts that use the database, and shut one of its hosts out in a failover."""
    return [
        host.name
        for host in stack.hosts.values()
        if {"app", "backup"} & set(host.roles) and host.name not in databases(stack)
    ]


def users(stack: Stack) -> list[str]:
    """All that use it, its own hosts among them."""
    return [*databases(stack), *clients(stack)]


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
