"""Checks that apt can verify a package source with a file: an OpenPGP public key, binary or armored (RFC 9580)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

_ARMORED = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)
_SECRET_KEY, _PUBLIC_KEY, _SECRET_SUBKEY = 5, 6, 7
_VERSIONS = (3, 4, 5, 6)


def is_armored(content: bytes) -> bool:
    """Return whether the key is ASCII-armored. apt itself goes by the file's extension alone."""
    return content.startswith(b"-----BEGIN")


def problem_of(content: bytes) -> str:
    """Return why apt cannot use the content as a key, worded as the end of a sentence; empty if it can."""
    if not content.strip():
        return "is empty"
    if b"PRIVATE KEY BLOCK-----" in content:
        return "is a private key; the public one belongs here"
    if content[8:12] == b"KBXf":
        return "is a keybox, which apt does not read; export the key with: gpg --export"
    if content.lstrip()[:1] == b"<":
        return (
            "is a web page, not an OpenPGP public key; the server answered the download with an error or a login page"
        )
    if not is_armored(content):
        if _ARMORED.search(content):
            return "does not begin with the line -----BEGIN PGP PUBLIC KEY BLOCK-----; remove what is before it"
        return _problem_of_packets(content)
    blocks = _ARMORED.findall(content)
    if not blocks:
        return "is not a complete OpenPGP public key block"
    for block in blocks:
        try:
            packets = _decoded(block)
        except (binascii.Error, ValueError):
            return "is not a valid OpenPGP public key block: its base64 text is damaged"
        if problem := _problem_of_packets(packets):
            return problem
    return ""


def _decoded(block: bytes) -> bytes:
    lines = [line.strip() for line in block.splitlines()]
    # Header lines ("Comment: ...") end with an empty line; a checksum line, if there is one, begins with '='.
    start = lines.index(b"") + 1 if b"" in lines else 0
    return base64.b64decode(b"".join(line for line in lines[start:] if not line.startswith(b"=")), validate=True)


def _problem_of_packets(content: bytes) -> str:
    try:
        packets = list(_packets(content))
    except ValueError as error:
        return str(error)
    tags = [tag for tag, _ in packets]
    if _SECRET_KEY in tags or _SECRET_SUBKEY in tags:
        return "is a private key; the public one belongs here"
    if not tags or tags[0] != _PUBLIC_KEY or packets[0][1][:1] not in [bytes([version]) for version in _VERSIONS]:
        return "is not an OpenPGP public key"
    return ""


def _packets(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield every packet as (tag, body). Raises ValueError if the content is not a sequence of complete packets."""
    at = 0
    while at < len(content):
        first = content[at]
        if not first & 0x80:
            raise ValueError("is not an OpenPGP public key" if at == 0 else "has extra data after its OpenPGP key")
        if first & 0x40:
            tag, start, size = first & 0x3F, *_new_length(content, at + 1)
        else:
            width = (1, 2, 4, 0)[first & 3]
            tag, start = (first >> 2) & 0x0F, at + 1 + width
            size = int.from_bytes(content[at + 1 : start], "big") if width else -1
        if size < 0 or start + size > len(content):
            raise ValueError("is a truncated OpenPGP key" if at else "is not an OpenPGP public key")
        yield tag, content[start : start + size]
        at = start + size


def _new_length(content: bytes, at: int) -> tuple[int, int]:
    """Return the offset of a new-format packet's body, and its length, or -1 if it cannot be read (RFC 9580, 4.2.1)."""
    octets = content[at : at + 5]
    if octets[:1] and octets[0] < 192:
        return at + 1, octets[0]
    if len(octets) >= 2 and octets[0] < 224:
        return at + 2, ((octets[0] - 192) << 8) + octets[1] + 192
    if len(octets) == 5 and octets[0] == 255:
        return at + 5, int.from_bytes(octets[1:], "big")
    return at, -1
