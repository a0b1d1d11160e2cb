"""The addresses of a lab's networks and cables, derived from those of its hosts: /24s, and IPv6 /64s."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

Gateway = IPv4Interface | IPv6Interface
_LENGTH = {4: 24, 6: 64}


def with_length(address: str) -> str:
    """Return an address with the length of its network's prefix."""
    return f"{address}/{_LENGTH[ip_address(address).version]}"


def gateway(address: str) -> Gateway:
    """Return the lab's own address in the network of a host's address: the first one. Raises ValueError."""
    network = ip_interface(with_length(address)).network
    return ip_interface(f"{network.network_address + 1}/{network.prefixlen}")


def gateways(addresses: Iterable[str | None]) -> tuple[Gateway, ...]:
    """Return the lab's own addresses in the networks of these hosts' addresses, one of each IP version."""
    found: dict[int, Gateway] = {}
    for address in addresses:
        if address is not None:
            found.setdefault(ip_address(address).version, gateway(address))
    return tuple(found[version] for version in sorted(found))


def hardware(address: str) -> str:
    """Return a host's hardware address; a host that is created again gets the same one, because neighbors cache it."""
    packed = ip_address(address).packed
    octets = [0, *packed] if len(packed) == 4 else [6, *sha256(packed).digest()[:4]]
    return ":".join(f"{octet:02x}" for octet in (2, *octets))


def suffix(address: str) -> str:
    """Return what distinguishes an address from others of its network in the names of cables: at most 7 characters."""
    return address.rpartition(".")[2] if "." in address else sha256(ip_address(address).packed).hexdigest()[:7]


def problems(kind: str, addresses: Sequence[tuple[str, str]]) -> list[str]:
    """Return what is wrong with these (host, address) pairs of one network and one IP version."""
    if not addresses:
        return []
    own = gateway(addresses[0][1])
    found = []
    seen: dict[str, str] = {}
    for name, address in addresses:
        if gateway(address) != own:
            found.append(f"{name}: the {kind} address {address} is not in {own.network} like the others")
        elif ip_address(address) == own.ip:
            found.append(f"{name}: {address} is the lab's own address; give the host another one")
        elif ip_address(address) == own.network[0] or ("." in address and ip_address(address) == own.network[-1]):
            found.append(f"{name}: {address} is not an address for a host")
        elif address in seen:
            found.append(f"{name}: {seen[address]} has the address {address} too")
        seen[address] = name
    return found
