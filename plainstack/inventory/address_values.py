"""The types of addresses and networks in an inventory: of one IP version or of either, one value or a list."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from plainstack.inventory.values import network_of

# What cannot be a machine's own address (RFC 6890), and why.
_NO_MACHINE: tuple[tuple[IPv4Network | IPv6Network, str], ...] = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "in 0.0.0.0/8, which means 'this network' and 'any address'"),
        ("::/128", "the address that means 'any address'"),
        ("127.0.0.0/8", "a loopback address, at which every machine reaches only itself"),
        ("::1/128", "a loopback address, at which every machine reaches only itself"),
        ("169.254.0.0/16", "a link-local address, which machines assign to themselves and routers do not forward"),
        ("fe80::/10", "a link-local address, which machines assign to themselves and routers do not forward"),
        ("224.0.0.0/4", "a multicast address, which stands for a group of machines"),
        ("ff00::/8", "a multicast address, which stands for a group of machines"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "in 240.0.0.0/4, which is reserved"),
        ("::ffff:0:0/96", "an IPv4 address in the notation of IPv6; write the IPv4 address"),
    )
)
_EITHER = "an IPv4 or IPv6 address"


def _address(value: Any, what: str = _EITHER, versions: tuple[int, ...] = (4, 6)) -> Any:
    # ipaddress accepts an integer as an address, but in an inventory it is a mistake.
    if not isinstance(value, str | IPv4Address | IPv6Address):
        raise ValueError(what)
    if isinstance(value, str) and "/" in value:
        raise ValueError(f"{what} without a prefix length: {value.partition('/')[0][:45]}")
    if isinstance(value, str) and "%" in value:
        raise ValueError(f"{what} without an interface: {value.partition('%')[0][:45]}")
    try:
        address = ip_address(value)
    except ValueError:
        raise ValueError(what) from None
    if address.version not in versions:
        raise ValueError(what)
    for network, why in _NO_MACHINE:
        if address in network:
            raise ValueError(f"the address of one machine: {address} is {why}")
    return address


def _address4(value: Any) -> Any:
    return _address(value, "an IPv4 address", (4,))


def _address6(value: Any) -> Any:
    return _address(value, "an IPv6 address", (6,))


def _one_or_more(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def parsed(value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("one of them, or a list of at least one")
        return tuple(parse(item) for item in value) if isinstance(value, list | tuple) else parse(value)

    return parsed


def _schema(*formats: str) -> WithJsonSchema:
    either: list[dict[str, Any]] = [{"type": "string", "format": one} for one in formats]
    return WithJsonSchema({"anyOf": [*either, {"type": "array", "items": {"anyOf": either}}]})


Address = Annotated[IPv4Address | IPv6Address, BeforeValidator(_address)]
Address4 = Annotated[IPv4Address, BeforeValidator(_address4)]
Address6 = Annotated[IPv6Address, BeforeValidator(_address6)]
Addresses = Annotated[
    IPv4Address | IPv6Address | tuple[IPv4Address | IPv6Address, ...],
    BeforeValidator(_one_or_more(_address)),
    _schema("ipv4", "ipv6"),
]
Networks = Annotated[
    IPv4Network | IPv6Network | tuple[IPv4Network | IPv6Network, ...],
    BeforeValidator(_one_or_more(network_of)),
    _schema("ipv4network", "ipv6network"),
]
