"""The settings of the second copy of the backups: the key `backup.second_copy`.

There are two kinds, which differ by `to`: a folder on another machine, by rsync over SSH, and a bucket, over S3.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from plainstack.dataclass import dataclass
from plainstack.inventory.sections import Model
from plainstack.inventory.values import BitRate, FilePath, Int, Line, Port

_TO = re.compile(r"(?P<user>[a-z_][a-z0-9_.-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[A-Za-z0-9._/-]+)")
_BUCKET = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[A-Za-z0-9._/-]*))?")
# Backups go over an encrypted connection only.
_ENDPOINT = re.compile(r"https://[A-Za-z0-9][A-Za-z0-9.-]*(?::(?P<port>[0-9]{1,5}))?/?")
_EXAMPLES = "user@host:path, such as backups@nas.example.com:/srv/shop, or s3://bucket/prefix"
_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


@dataclass(frozen=True)
class Place:
    """A folder on another machine, and the account that owns it."""

    user: str
    host: str
    path: str


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the beginning of the names in it, without a slash at its end."""

    bucket: str
    prefix: str


def place(text: str) -> Place | Bucket:
    """Return the parts of user@host:path or s3://bucket/prefix. Raises ValueError."""
    if text.startswith("s3:"):
        return _bucket(text)
    match = _TO.fullmatch(text)
    if not match or match["path"].startswith("-") or ".." in match["path"].split("/"):
        raise ValueError(f"must be {_EXAMPLES}")
    path = match["path"].rstrip("/")
    if path in ("", "."):
        raise ValueError("must be user@host:path with a folder of its own, such as backups@nas.example.com:/srv/shop")
    return Place(match["user"], match["host"], path)


def _bucket(text: str) -> Bucket:
    match = _BUCKET.fullmatch(text)
    prefix = (match["prefix"] or "").strip("/") if match else ""
    if not match or not {"", ".", ".."}.isdisjoint(prefix.split("/") if prefix else ()):
        raise ValueError("must be s3://bucket/prefix, such as s3://example-backups/shop")
    return Bucket(match["bucket"], prefix)


def _to(value: str) -> str:
    place(value)
    return value


def _endpoint(value: str) -> str:
    found = _ENDPOINT.fullmatch(value)
    if not found or (found["port"] and not 0 < int(found["port"]) < 65536):
        raise ValueError("must be a URL without a path that begins with https://, such as https://s3.example.com")
    return value.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_endpoint)]


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


# The keys of one kind only.
OF_MACHINE = ("host_key", "port")
OF_BUCKET = ("endpoint", "region", "ca")


class SecondCopy(Model):
    """A second copy of the backups and their WAL: on another machine, by rsync over SSH, or in a bucket, over S3."""

    to: Annotated[str, AfterValidator(_to)] = Field(
        description=(
            "Where the copy is kept: `user@host:path`, a folder on a machine that need not belong to the stack, or"
            " `s3://bucket/prefix`."
        )
    )
    host_key: Annotated[str, AfterValidator(_host_key)] | None = Field(
        None,
        description=(
            "The machine's public host key, as in its /etc/ssh/ssh_host_ed25519_key.pub; required for a machine."
        ),
    )
    port: Port = Field(22, description="The port of the machine's sshd.")
    endpoint: Endpoint | None = Field(
        None, description="The URL of the S3 service, `https://...`; without it, Amazon's in the region."
    )
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = Field(
        "us-east-1", description="The bucket's region. Many services other than Amazon's accept any."
    )
    ca: FilePath | None = Field(
        None,
        description=(
            "The PEM file of the authority that has issued the endpoint's certificate; without it, those that Debian"
            " trusts."
        ),
    )
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
    def place(self) -> Place | Bucket:
        """The parts of `to`."""
        return place(self.to)

    @property
    def where(self) -> str:
        """The name of the machine or bucket."""
        return self.place.bucket if isinstance(self.place, Bucket) else self.place.host
