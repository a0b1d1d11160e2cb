"""Which addresses may be polled. People who edit machines in the admin must not reach the stack's own services."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Networks for special purposes that some versions of Python count as public.
SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "3fff::/20", "5f00::/16")))


class Forbidden(Exception):
    """None of a name's addresses may be polled."""


@dataclass(frozen=True)
class Parts:
    tls: bool
    host: str
    port: int
    target: str


def parts(url: str) -> Parts:
    """Return the parts of a machine's URL. Raises ValueError, which says what is wrong with it."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be a URL of printable ASCII characters without spaces")
    found = urlsplit(url)
    if found.scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://")
    if not found.hostname:
        raise ValueError("has no host")
    if "@" in found.netloc:
        raise ValueError("must not contain a login")
    if found.fragment:
        raise ValueError("must not contain a fragment (#)")
    try:
        port = found.port
    except ValueError:
        raise ValueError("has an invalid port") from None
    if port == 0:
        raise ValueError("has an invalid port")
    tls = found.scheme == "https"
    target = (found.path or "/") + (f"?{found.query}" if found.query else "")
    return Parts(tls, found.hostname, port or (443 if tls else 80), target)


def innermost(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner:
            return inner
        if address in NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def refusal(address: Address, allowed: Sequence[Network], denied: Sequence[Network]) -> str:
    """Return why an address may not be polled, or "".

    Only public addresses may be polled, and those in `allowed`; never those in `denied`.
    """
    inner = innermost(address)
    for network in denied:
        if inner in network or address in network:
            return f"{address} is in {network}, which POLL_DENY lists"
    if any(inner in network or address in network for network in allowed):
        return ""
    if inner.is_loopback:
        return f"{address} is a loopback address"
    special = any(inner in network for network in SPECIAL)
    if special or not inner.is_global or inner.is_multicast or inner.is_reserved:
        return f"{address} is not a public address; POLL_ALLOW can list its network"
    return ""


def resolve(host: str, port: int, allowed: Sequence[Network], denied: Sequence[Network]) -> list[str]:
    """Return the addresses of a host that may be polled: connect to one of these, and do not resolve it again.

    Raises Forbidden if there are none, and OSError or UnicodeError if the name cannot be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    names = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    refusals = {name: refusal(ipaddress.ip_address(name), allowed, denied) for name in names}
    usable = [name for name, reason in refusals.items() if not reason]
    if not usable:
        raise Forbidden("; ".join(refusals.values()))
    return usable
