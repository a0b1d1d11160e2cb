"""The states of a rotation; a deploy brings each state to every host before the next one begins.

The hosts of a stack cannot all learn a new value at the same moment. So a secret that the site depends on goes through
states in which hosts with the new value and hosts without it work together. A rotation that is interrupted between two
states stays in a working state, and the next `advance` continues from there.
"""

from __future__ import annotations

import secrets as random_source
import string
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from plainstack.dataclass import dataclass
from plainstack.secrets.values import Secret

RotationStrategy = Literal["at once", "grace", "overlap", "handover"]
"""How a secret is replaced.

at once: clients retry until both sides have the new value.
grace: the previous value is accepted until the next rotation, so that clients have time to change theirs.
overlap: first every host accepts the new value, then every host uses it; the previous one is still accepted.
handover: a second account gets the new value, clients move to it, then the first account loses its password.
"""

_ALPHABET = string.ascii_letters + string.digits

RotationStrategies = Mapping[str, RotationStrategy]


@dataclass(frozen=True)
class Entry:
    """A secret with its previous and next value; the parity of `handovers` selects the account."""

    value: Secret
    made: str = ""
    handovers: int = 0
    previous: Secret | None = None
    next: Secret | None = None


def moment(now: datetime) -> str:
    """Return a time in the store's format."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generate(name: str, length: int = 32) -> Secret:
    """Return a random value of letters and digits (5.95 bits each), which needs no quoting in files, shells or URLs."""
    return Secret(name, "".join(random_source.choice(_ALPHABET) for _ in range(length)))


def begin(entry: Entry, strategy: RotationStrategy, value: Secret, now: datetime) -> Entry:
    """Return the first state of a rotation that replaces a secret's value with `value`."""
    made = moment(now)
    if strategy == "overlap":
        return replace(entry, next=value, made=made)
    if strategy == "grace":
        return replace(entry, value=value, previous=entry.value, made=made)
    if strategy == "handover":
        return replace(entry, value=value, previous=entry.value, made=made, handovers=entry.handovers + 1)
    return replace(entry, value=value, made=made)


def unfinished(entry: Entry, strategy: RotationStrategy) -> bool:
    """Return whether a rotation has started but not reached its last state."""
    return entry.next is not None or (strategy == "handover" and entry.previous is not None)


def in_steps(strategy: RotationStrategy) -> bool:
    """Return whether a new value takes several deploys to come into use, and so must be rotated."""
    return strategy in ("overlap", "handover")


def advance(entry: Entry, strategy: RotationStrategy) -> Entry:
    """Return the next state of an unfinished rotation.

    Call it only after a deploy has brought the current state to every host.
    """
    if strategy == "overlap" and entry.next is not None:
        return replace(entry, value=entry.next, previous=entry.value, next=None)
    return revoke(entry)


def revoke(entry: Entry) -> Entry:
    """Return the entry without its previous value, which then is no longer accepted."""
    return replace(entry, previous=None)
