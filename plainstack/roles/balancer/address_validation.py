"""Errors in the virtual addresses of an inventory: where they are, and whether the balancers can hold them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from plainstack.addresses import Address
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import virtual
from plainstack.services.edge import Balancer
from plainstack.wording import Loc, dotted

Problem = tuple[Loc, str]

_ADDRESS: Loc = ("balancer", "virtual_address")
_LENGTH = {4: 24, 6: 64}
_KEY = {4: "public", 6: "public6"}


def contradictions(stack: Stack) -> Iterator[Problem]:
    """Yield the errors as (place, sentence) pairs."""
    yield from _interfaces(stack)
    found = [*_doubled(stack)]
    yield from found
    if not found:
        yield from _public_addresses(stack)
        yield from _too_many(stack)
        yield from _router_ids(stack)
        for number, address in enumerate(virtual.addresses(stack)):
            yield from _network(stack, address, _place(stack, number))


def _place(stack: Stack, number: int) -> Loc:
    several = isinstance(stack.settings(Balancer).virtual_address, tuple)
    return (*_ADDRESS, number) if several else _ADDRESS


def _interfaces(stack: Stack) -> Iterator[Problem]:
    for name, host in stack.hosts.items():
        if host.interface is not None and not (virtual.addresses(stack) and "balancer" in host.roles):
            yield (
                ("hosts", name, "interface"),
                f"hosts.{name}.interface: only a balancer of a stack with balancer.virtual_address uses it. Remove it",
            )


def _doubled(stack: Stack) -> Iterator[Problem]:
    """Yield virtual addresses that are also a machine's, or that are given twice."""
    taken: dict[Address, str] = {}
    for name, host in stack.hosts.items():
        taken |= dict.fromkeys(host.addresses, name)
    for name, visitor in stack.lab.visitors.items():
        taken |= {address: name for address in (visitor.address, visitor.public, visitor.public6) if address}
    given = virtual.addresses(stack)
    for number, address in enumerate(given):
        loc = _place(stack, number)
        if address in taken:
            yield loc, f"{dotted(loc)}: {address} is the address of {taken[address]}"
        elif address in given[:number]:
            yield loc, f"{dotted(loc)}: {address} is given twice"


def _public_addresses(stack: Stack) -> Iterator[Problem]:
    """Yield balancers without a public address that VRRP needs, or without IPv6 for an IPv6 address of the site."""
    versions = {address.version: address for address in reversed(virtual.addresses(stack))}
    for host in stack.with_role("balancer") if versions else ():
        for version, address in sorted(versions.items()):
            if (host.public, host.public6)[version == 6] is None:
                what = "balancer.virtual_address" if version == 4 else f"the virtual address {address}"
                key = f"hosts.{host.name}.{_KEY[version]}"
                yield ("hosts", host.name), f"{key}: is missing, but {what} needs it"


def _too_many(stack: Stack) -> Iterator[Problem]:
    """Yield the first address for which no balancer is left: each group should be on a balancer of its own."""
    balancers, groups = stack.with_role("balancer"), virtual.groups(stack)
    if balancers and len(groups) > len(balancers):
        extra = groups[len(balancers)].addresses[0]
        loc = _place(stack, virtual.addresses(stack).index(extra))
        names = ", ".join(host.name for host in balancers)
        yield (
            loc,
            f"{dotted(loc)}: {extra} is one too many: there can be one IPv{extra.version} address for each balancer"
            f" ({names}). Remove it",
        )


def _router_ids(stack: Stack) -> Iterator[Problem]:
    first, count = stack.settings(Balancer).router_id, len(virtual.groups(stack))
    if first + count - 1 > 255:
        yield (
            ("balancer", "router_id"),
            f"balancer.router_id: {count} virtual addresses need the numbers {first} to {first + count - 1}, and the"
            f" largest is 255. Write at most {256 - count}",
        )


def _network(stack: Stack, address: Address, loc: Loc) -> Iterator[Problem]:
    """Check that a virtual address is in a network of the balancers; routers would not reach it elsewhere."""
    given = [network for network in stack.settings(Balancer).networks if network.version == address.version]
    if given:
        if not any(address in network for network in given):
            shown = " or ".join(map(str, given))
            yield loc, f"{dotted(loc)}: {address} is not in balancer.network, {shown}"
        return
    for host in stack.with_role("balancer"):
        own = _own(host, address.version)
        if own is None:
            continue
        network = ip_network(f"{own}/{_LENGTH[address.version]}", strict=False)
        if address not in network:
            hint = (
                ""
                if stack.in_lab
                else ". If the public network is larger, or the address is routed to it, set balancer.network: CIDR"
            )
            yield (
                loc,
                f"{dotted(loc)}: {address} is outside {network}, the public network of {host.name}"
                f" ({own}), so no router would send its packets to the balancers{hint}",
            )
            return
        if what := _edge(address, network):
            yield loc, f"{dotted(loc)}: {address} is the {what} address of {network}, no machine's"
            return


def _own(host: Host, version: int) -> Address | None:
    return host.public if version == 4 else host.public6


def _edge(address: Address, network: IPv4Network | IPv6Network) -> str:
    if address == network[0]:
        return "network" if address.version == 4 else "routers' anycast"
    return "broadcast" if address.version == 4 and address == network[-1] else ""
