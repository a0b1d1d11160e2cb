"""The types of an inventory's values: how each is written, and how errors describe it.

A validator's message is appended to "must be".
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from plainstack.errors import Refused
from plainstack.inventory.destination import Destination

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
# Linux limits a name to 255 bytes (NAME_MAX) and a path to 4096 (PATH_MAX), including the folder of the inventory.
_LONGEST_PART, _LONGEST_PATH = 255, 2048
LONGEST_LAB_NAME = 30
# A bare host writes 9 MiB when it boots, and a role's packages need more. A file on ext4, such as that of the disk, has
# at most 16 TiB minus one block (see the kernel's documentation).
_LEAST_ROOM, _MOST_ROOM = 64, 16383 << 10
_RETENTION = re.compile(r"(?:RECOVERY WINDOW OF ([0-9]{1,4}) (?:DAYS|WEEKS|MONTHS)|REDUNDANCY ([0-9]{1,4}))")


def _host_or_stack_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be lower case letters, digits and '-', begin with a letter, at most 32 characters")
    return value


def _lab_name(value: str) -> str:
    if not _NAME.fullmatch(value) or len(value) > LONGEST_LAB_NAME:
        raise ValueError(
            f"must be lower case letters, digits and '-', begin with a letter, at most {LONGEST_LAB_NAME} characters"
        )
    return value


def _sql_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", value):
        raise ValueError("must be lower case letters, digits and '_', begin with a letter, at most 31 characters")
    return value


def _one_line(value: str) -> str:
    if "\n" in value or not value.strip():
        raise ValueError("must be one line of text")
    return value


def _jump_hosts(value: str) -> str:
    for text in value.split(","):
        try:
            Destination.parse(text)
        except Refused:
            raise ValueError("must be [user@]host[:port], or several with ',' between them") from None
    return value


def _strict_int(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _strict_bool(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def network_of(value: Any) -> Any:
    """Parse a network of either IP version. Raises ValueError, also if the text is a machine in a network."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str) or "%" in value:
        raise ValueError("an IPv4 network or an IPv6 network")
    try:
        network = ip_network(value)
    except ValueError:
        pass
    else:
        return _seen_as_written(network)
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("an IPv4 network or an IPv6 network") from None
    address = value.partition("/")[0]
    raise ValueError(
        f"a network's first address: {address} is a machine in {network};"
        f" write {network} for all of it, {address} for that machine"
    )


def _seen_as_written(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Refuse IPv4 in the notation of IPv6 (RFC 4291, 2.5.5.2): programs compare IPv4 clients with IPv4 networks."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < 96:
        return network
    raise ValueError(f"an IPv4 network or an IPv6 network: write {IPv4Network((mapped, network.prefixlen - 96))}")


def _path(value: Any) -> Any:
    if not isinstance(value, str | Path):
        raise ValueError("a path")
    if not str(value) or "\n" in str(value) or "\0" in str(value):
        raise ValueError("a path")
    parts = Path(value).parts
    if len(str(value).encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_PART for part in parts):
        raise ValueError(f"a path: at most {_LONGEST_PATH} bytes long, and {_LONGEST_PART} between two slashes")
    return value


def _retention(value: str) -> str:
    match = _RETENTION.fullmatch(value)
    if not match:
        raise ValueError("'RECOVERY WINDOW OF n DAYS' (or WEEKS, MONTHS) or 'REDUNDANCY n', n below 10000")
    if int(match[1] or match[2]) == 0:
        raise ValueError("at least 1: with 0 no backup is kept")
    return value


def _time_span(value: str) -> str:
    match = re.fullmatch(r"([0-9]{1,4})[dwy]", value)
    if not match:
        raise ValueError("a number below 10000 with d (days), w (weeks) or y (years), such as 30d")
    if int(match[1]) == 0:
        raise ValueError("at least 1d: with 0 no measurement is kept")
    return value


def _bit_rate(value: Any) -> Any:
    match = re.fullmatch(r"([1-9][0-9]{0,3})([kMG])", value) if isinstance(value, str) else None
    if not match:
        raise ValueError("a number below 10000 with k, M or G (bits a second), such as 10M")
    return int(match[1]) * {"k": 10**3, "M": 10**6, "G": 10**9}[match[2]]


def _milliseconds(value: Any) -> Any:
    match = re.fullmatch(r"([1-9][0-9]{0,3})ms", value) if isinstance(value, str) else None
    if not match:
        raise ValueError("a number below 10000 with ms, such as 20ms")
    return int(match[1])


def _loss(value: Any) -> Any:
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)%", value) if isinstance(value, str) else None
    if not match or not 0 < float(match[1]) <= 100:
        raise ValueError("a percentage above 0% and up to 100%, such as 1% or 0.5%")
    return float(match[1])


def _room(value: str) -> str:
    if not _LEAST_ROOM <= int(value[:-1]) << (10 if value.endswith("G") else 0) <= _MOST_ROOM:
        raise ValueError("between 64M, which a host needs to boot and to be deployed, and 16383G")
    return value


def _slot_limit(value: str) -> str:
    match = re.fullmatch(r"([0-9]{1,6})(MB|GB)", value)
    if not match:
        raise ValueError("a whole number with MB or GB, such as 4GB")
    # PostgreSQL invalidates slots only at a checkpoint and in whole segments of 16 MB.
    if not 64 <= int(match[1]) * (1024 if match[2] == "GB" else 1) <= 8191 * 1024:
        raise ValueError("between 64MB and 8191GB")
    return value


def _memory(value: str) -> str:
    match = re.fullmatch(r"([0-9]{1,6})(kB|MB|GB)", value)
    if not match:
        raise ValueError("a whole number with kB, MB or GB, such as 128MB")
    # PostgreSQL requires at least 16 blocks of 8 kB, and at most half of what a signed 32-bit integer can count.
    size = int(match[1]) * {"kB": 1, "MB": 1024, "GB": 1024**2}[match[2]]
    if not 128 <= size <= 8 * (2**30 - 1):
        raise ValueError("between 128kB and 8191GB, the limits of PostgreSQL")
    return value


Name = Annotated[str, AfterValidator(_host_or_stack_name)]
Room = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[MG]$"), AfterValidator(_room)]
# Numbers with a unit are text in the file, and so in the schema.
_TEXT = WithJsonSchema({"type": "string"})
BitRate = Annotated[int, BeforeValidator(_bit_rate), _TEXT]
Milliseconds = Annotated[int, BeforeValidator(_milliseconds), _TEXT]
Loss = Annotated[float, BeforeValidator(_loss), _TEXT]
LabName = Annotated[str, AfterValidator(_lab_name)]
SqlName = Annotated[str, AfterValidator(_sql_name)]
Line = Annotated[str, AfterValidator(_one_line)]
JumpHosts = Annotated[str, AfterValidator(_jump_hosts)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(network_of)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Interface = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,14}$")]
Int = Annotated[int, BeforeValidator(_strict_int)]
Bool = Annotated[bool, BeforeValidator(_strict_bool)]
Port = Annotated[Int, Field(ge=1, le=65535)]
Retention = Annotated[str, AfterValidator(_retention)]
TimeSpan = Annotated[str, AfterValidator(_time_span)]
SlotLimit = Annotated[str, AfterValidator(_slot_limit)]
Memory = Annotated[str, AfterValidator(_memory)]
Url = Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2000)]
