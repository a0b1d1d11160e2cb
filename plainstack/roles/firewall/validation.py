"""Errors in the inventory that would make the packet filter lock the operators out."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from plainstack.addresses import Address, only
from plainstack.inventory.destination import Destination
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Report an `ssh.allow_from` that would lock the operators or their gateway out."""
    allowed = stack.ssh.allow_from
    loc = ("ssh", "allow_from")
    if not allowed:
        yield loc, "ssh.allow_from: is empty, so no one could log in. List the operators' networks"
        return
    gateway = _gateway(stack)
    if gateway is None:
        return
    own = next((host for host in stack.hosts.values() if gateway in host.addresses), None)
    seen = own.address if own else gateway
    # If gateway and hosts are not both public or both private, the gateway has a second, unknown address.
    known = own or any(gateway.is_global == host.address.is_global for host in stack.hosts.values())
    if not known or any(seen in network for network in allowed):
        return
    yield (
        loc,
        f"ssh.allow_from: leaves out the gateway ({seen}), so the firewall would lock you out. Add {only(seen)}, or"
        " the address that the hosts see the gateway at",
    )


def _gateway(stack: Stack) -> Address | None:
    """Return the address of the last gateway; None if the inventory gives no gateway or only its name."""
    if not stack.ssh.gateway:
        return None
    try:
        return ip_address(Destination.parse(stack.ssh.gateway.rpartition(",")[2]).host)
    except ValueError:
        return None
