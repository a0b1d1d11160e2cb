"""How addresses of both IP versions are written: in URLs, with a port, and as the network of a single address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def bracketed(address: object) -> str:
    """Return an address as URLs contain it: in brackets if it is an IPv6 address (RFC 3986, section 3.2.2).

    Names are returned unchanged.
    """
    text = str(address)
    return f"[{text}]" if ":" in text else text


def endpoint(address: object, port: int | str) -> str:
    """Return an address or a name with a port."""
    return f"{bracketed(address)}:{port}"


def only(address: object) -> str:
    """Return the network that contains only this address, such as `192.0.2.1/32`."""
    return f"{address}/{ip_address(str(address)).max_prefixlen}"
