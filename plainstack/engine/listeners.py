"""The ports that units bind, and the processes that a probe found listening on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from plainstack.dataclass import dataclass
from plainstack.engine.observed import Listener

_SOCKETS = Path(__file__).parent / "transaction/sh/sockets.sh"
_UNIT = re.compile(r"([^/]+\.(?:service|scope|socket))(?:/|$)")


@dataclass(frozen=True, slots=True)
class Listen:
    """A port that a unit binds, on one IPv4 address or, if `address` is empty, on all.

    An `adopted` port belongs to a daemon that every host already runs before the first deploy.
    """

    port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    address: str = ""
    adopted: bool = False


def hexadecimal(ports: Iterable[Listen]) -> list[str]:
    """Return the ports in the format of /proc/net/tcp, sorted and without duplicates."""
    return sorted({f"{listen.port:04X}" for listen in ports})


def probe(listens: Iterable[Listen]) -> str:
    """Return the part of a probe that prints which processes hold these ports."""
    ports = hexadecimal(listens)
    if not ports:
        return ""
    return f"{_SOCKETS.read_text(encoding='utf-8')}\nholders {' '.join(ports)} 2>/dev/null | sed 's/^/listen\t/'\n"


def parse(words: Sequence[str]) -> Listener:
    """Parse the fields of one line of the probe's output."""
    protocol, where, pid, process, cgroup = words
    address, _, port = where.partition(":")
    found = _UNIT.findall(cgroup)
    return Listener(
        protocol=protocol.removesuffix("6"),
        address=_address(address),
        port=int(port, 16),
        process=process,
        pid="" if pid == "-" else pid,
        unit=found[-1] if found else "",
    )


def _address(text: str) -> str:
    """Parse an address from /proc/net: 32-bit words in host byte order, which is little-endian on supported hosts."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    address = ip_address(b"".join(words))
    return "" if address.is_unspecified else str(getattr(address, "ipv4_mapped", None) or address)
