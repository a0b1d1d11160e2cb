"""The settings of the second copy of the backups: the key `backup.second_copy`."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from plainstack.inventory.sections import Model
from plainstack.inventory.values import BitRate, Int, Line, Port

_TO = re.compile(r"(?P<user>[a-z_][a-z0-9_.-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[A-Za-z0-9._/-]+)")
_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


@dataclass(frozen=True)
class Place:
    """A folder on another machine, and the account that owns it."""

    user: str
    host: str
    path: str


def place(text: str) -> Place:
    """Return the parts of user@host:path. Raises ValueError."""
    match = _TO.fullmatch(text)
    if not match or match["path"].startswith("-") or ".." in match["path"].split("/"):
        raise ValueError("must be user@host:path, such as backups@nas.example.com:/srv/shop")
    path = match["path"].rstrip("/")
    if path in ("", "."):
        raise ValueError("must be user@host:path with a folder of its own, such as backups@nas.example.com:/srv/shop")
    return Place(match["user"], match["host"], path)


def _to(value: str) -> str:
    place(value)
    return value


def _host_key(value: str) -> str:
    kind, _, rest = value.strip().partition(" ")
    data = rest.partition(" ")[0]
    hint = "such as 'ssh-ed25519 AAAAC3Nz...'. ssh-keyscan -t ed25519 HOST prints it after the name of the host"
    if kind not in _TYPES:
        raise ValueError(f"must be the public host key of the destination, {hint}")
    parts = _parts(data)
    if len(parts) < 2 or parts[0] != kind.encode():
        raise ValueError(f"must be a whole public key: its second word is cut off or damaged, {hint}")
    return f"{kind} {data}"


def _parts(data: str) -> list[bytes]:
    """Return the parts of a public key (RFC 4253), each of which follows its length; empty if it is damaged."""
    try:
        rest = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return []
    parts = []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        parts.append(rest[4 : 4 + size])
        if len(parts[-1]) != size or len(rest) < 4:
            return []
        rest = rest[4 + size :]
    return parts


class SecondCopy(Model):
    """A second copy of the backups and their WAL on another machine, by rsync over SSH."""

    to: Annotated[str, AfterValidator(_to)] = Field(
        description="Where the copy is kept: `user@host:path`. The machine need not belong to the stack."
    )
    host_key: Annotated[str, AfterValidator(_host_key)] = Field(
        description="The destination's public host key, as in its /etc/ssh/ssh_host_ed25519_key.pub."
    )
    port: Port = Field(22, description="The port of the destination's sshd.")
    bandwidth: BitRate | None = Field(
        None,
        description="The bandwidth that a copy may use, in bits a second, such as 50M; without it, there is no limit.",
    )
    max_age_hours: Annotated[Int, Field(ge=1, le=9999)] = Field(
        3, description="An alert fires when the copy is older than this, in hours; one is made every 15 minutes."
    )

    restore_test: Line = Field(
        "Sun *-*-* 09:00",
        description=(
            "When the newest backup of the copy is fetched, restored on the backup host, checked, and deleted again; a"
            " systemd calendar expression, in UTC, or `never`."
        ),
    )

    @property
    def place(self) -> Place:
        """The parts of `to`."""
        return place(self.to)
