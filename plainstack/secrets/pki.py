"""The stack's own certificate authority: decides which certificates are due, and has them signed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from plainstack.errors import InventoryError

AUTHORITY = "authority"
SITE = "site"
# The authority's successor: every host deployed in the 60 days before it starts to sign trusts it by then.
NEXT = "authority.next"
BEFORE = "authority.before"
AUTHORITIES = (AUTHORITY, NEXT, BEFORE)
ANNOUNCE_BEFORE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)

Pair = dict[str, str]


def ensure(
    stack: str, subjects: Mapping[str, tuple[str, ...]], pairs: dict[str, Pair], now: datetime
) -> dict[str, Pair]:
    """Return `pairs` with missing ones added, and with those renewed whose names differ or that expire within 30 days.

    `subjects` maps each certificate to its names. The authority gets a successor 90 days before it expires. The
    successor takes over 30 days before that date, and the old certificate stays trusted.
    """
    pairs = dict(pairs)
    if AUTHORITY not in pairs:
        pairs = {AUTHORITY: _authority(stack, now)}
    left = _expires(pairs[AUTHORITY]) - now
    if left < ANNOUNCE_BEFORE and NEXT not in pairs:
        pairs[NEXT] = _authority(stack, now)
    if left < RENEW_BEFORE:
        pairs = {AUTHORITY: pairs[NEXT], BEFORE: pairs[AUTHORITY]}
    authority = pairs[AUTHORITY]
    for name, names in subjects.items():
        pair = pairs.get(name)
        if pair is None or pair["names"] != " ".join(names) or _expires(pair) - now < RENEW_BEFORE:
            from plainstack.secrets import signing

            pairs[name] = signing.leaf(authority, names, now)
    return pairs


def blocks(path: Path, label: str) -> str:
    """Return the PEM blocks of a file whose label ends with `label`, without any text between them.

    The file may also contain the private key, which must not reach a world-readable file.
    """
    from plainstack.secrets import pem

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InventoryError([f"{path}: can no longer be read: {error.strerror}"]) from None
    return "".join(f"{block.decode(errors='replace')}\n" for block in pem.blocks(content, label))


def trusted(pairs: Mapping[str, Pair]) -> str:
    """Return the certificates of all authorities that peers accept, as PEM, the oldest first.

    The order stays the same when a successor takes over, so that only the host's own certificate changes then.
    """
    return "".join(pair["chain"] for pair in sorted((pairs[n] for n in AUTHORITIES if n in pairs), key=_expires))


def _authority(stack: str, now: datetime) -> Pair:
    # Imported only to sign: the import takes longer than all the rest of this module in a run that changes nothing.
    from plainstack.secrets import signing

    return signing.authority(stack, now)


def _expires(pair: Pair) -> datetime:
    return datetime.fromisoformat(pair["expires"])
