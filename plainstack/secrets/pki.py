"""The stack's own certificate authority: its own certificates, and which of all are due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from plainstack.errors import InventoryError

AUTHORITY = "authority"
SITE = "site"
# A successor of the authority is trusted on every host that is deployed in the 60 days before it begins to sign.
NEXT = "authority.next"
BEFORE = "authority.before"
AUTHORITIES = (AUTHORITY, NEXT, BEFORE)
ANNOUNCE_BEFORE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)

Pair = dict[str, str]


def ensure(
    stack: str, subjects: Mapping[str, tuple[str, ...]], pairs: dict[str, Pair], now: datetime
) -> dict[str, Pair]:
    """The given pairs of a stack, completed: what is missing, has other names, or ends within 30 days is signed anew.

    The authority has a successor 90 days before its end, which takes over 30 days before it; the one before stays.
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
    """The PEM blocks of a file whose label ends with `label`, without the words, of any encoding, between them.

    A key that lies in one file with its certificates stays out of what everybody may read.
    """
    from plainstack.secrets import pem

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InventoryError([f"{path}: cannot be read any more: {error.strerror}"]) from None
    return "".join(f"{block.decode(errors='replace')}\n" for block in pem.blocks(content, label))


def trusted(pairs: Mapping[str, Pair]) -> str:
    """The certificates of all authorities that peers accept, as PEM, the oldest first.

    The order does not change when a successor takes over, so that this changes nothing on a host but its own
    certificate.
    """
    return "".join(pair["chain"] for pair in sorted((pairs[n] for n in AUTHORITIES if n in pairs), key=_expires))


def _authority(stack: str, now: datetime) -> Pair:
    # Imported only to sign: it takes longer than all the rest that a run without a change does here.
    from plainstack.secrets import signing

    return signing.authority(stack, now)


def _expires(pair: Pair) -> datetime:
    return datetime.fromisoformat(pair["expires"])
