"""Finds addresses and names of an inventory that a lab cannot give to its hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from plainstack.inventory.lab_settings import Visitor
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.inventory.values import LONGEST_LAB_NAME
from plainstack.wording import Loc, dotted

_Address = IPv4Address | IPv6Address
_LENGTH = {4: 24, 6: 64}
_KINDS = {"address": "private", "public": "public", "public6": "public IPv6"}


def misuse(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the description of each mistake, if the stack's hosts are in the lab."""
    if not stack.in_lab:
        return
    if len(stack.lab_name) > LONGEST_LAB_NAME:
        yield (
            ("stack",),
            f"stack: a lab's name has at most {LONGEST_LAB_NAME} characters; give the lab a shorter one:"
            " lab: {name: NAME}",
        )
    machines: dict[Loc, Host | Visitor] = {("hosts", name): host for name, host in stack.hosts.items()}
    machines |= {("lab", "visitors", name): visitor for name, visitor in stack.lab.visitors.items()}
    for loc in machines:
        if len(str(loc[-1])) > LONGEST_LAB_NAME:
            yield loc, f"{dotted(loc)}: the name of a lab host has at most {LONGEST_LAB_NAME} characters"
    for key, kind in _KINDS.items():
        found = {(*loc, key): getattr(machine, key) for loc, machine in machines.items()}
        given = {loc: address for loc, address in found.items() if address is not None}
        yield from _outside(kind, given)
        if key != "address":
            yield from _in_the_private_network(given, next(iter(machines.values())).address)


def _outside(kind: str, addresses: Mapping[Loc, _Address]) -> Iterator[tuple[Loc, str]]:
    """Yield every address that is not one of a host in the network of the first."""
    if not addresses:
        return
    first, start = next(iter(addresses.items()))
    network = _network(start)
    for loc, address in addresses.items():
        if address.version != start.version:
            continue  # reported as a mix of IP versions
        if address not in network:
            yield (
                loc,
                f"{dotted(loc)}: {address} is not in {network}, the {kind} network of {first[-2]}."
                f" In a lab, all {kind} addresses are in one /{network.prefixlen}",
            )
        elif address == network[1]:
            yield loc, f"{dotted(loc)}: {address} is the lab's own address. Choose another"
        elif address == network[0] or (address.version == 4 and address == network[-1]):
            yield loc, f"{dotted(loc)}: {address} is not an address for a host. Choose another"


def _in_the_private_network(addresses: Mapping[Loc, _Address], private: _Address) -> Iterator[tuple[Loc, str]]:
    network = _network(private)
    for loc, address in addresses.items():
        if address in network:
            yield (
                loc,
                f"{dotted(loc)}: {address} is in {network}, the network of the private addresses."
                f" In a lab, public addresses are in another /{network.prefixlen}",
            )


def _network(address: _Address) -> IPv4Network | IPv6Network:
    return ip_network((address, _LENGTH[address.version]), strict=False)
