"""What replacing a secret means: the states that it goes through, each of which a deploy makes true on the hosts.

Every host of a stack cannot learn a new value at one moment. So a secret that the site answers with goes through states
in which the hosts that know it and those that do not yet know it work together. Interrupted between two states it stays
in one that works, and the next `advance` goes on from there.
"""

from __future__ import annotations

import secrets as random_source
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from plainstack.secrets.values import Secret

RotationStrategy = Literal["at once", "grace", "overlap", "handover"]
"""How a secret is replaced.

at once: who uses it tries again until both sides know the new value.
grace: the value before is still accepted, until the next rotation; clients get time to change theirs.
overlap: first every host accepts the new value, then every host begins to use it; the one before is still accepted.
handover: a second account gets the new value, who uses it moves over, then the first account loses its value.
"""

RotationStrategies = Mapping[str, RotationStrategy]


@dataclass(frozen=True)
class Entry:
    """A secret with its past and future: `turn` counts handovers, and tells which account's turn it is."""

    value: Secret
    made: str = ""
    turn: int = 0
    previous: Secret | None = None
    next: Secret | None = None


def moment(now: datetime) -> str:
    """A time as the store keeps it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generate(name: str) -> Secret:
    """A new random value (192 bits), of characters that no file format and no shell treats in a special way."""
    return Secret(name, random_source.token_urlsafe(24))


def begin(entry: Entry, strategy: RotationStrategy, value: Secret, now: datetime) -> Entry:
    """The first state of replacing a secret by `value`."""
    made = moment(now)
    if strategy == "overlap":
        return replace(entry, next=value, made=made)
    if strategy == "grace":
        return replace(entry, value=value, previous=entry.value, made=made)
    if strategy == "handover":
        return replace(entry, value=value, previous=entry.value, made=made, turn=entry.turn + 1)
    return replace(entry, value=value, made=made)


def unfinished(entry: Entry, strategy: RotationStrategy) -> bool:
    """Whether a rotation was begun that still has a state to go to."""
    return entry.next is not None or (strategy == "handover" and entry.previous is not None)


def is_staged(strategy: RotationStrategy) -> bool:
    """Whether a value that was changed by hand needs more than one deploy, and so a rotation, to come into use."""
    return strategy in ("overlap", "handover")


def advance(entry: Entry, strategy: RotationStrategy) -> Entry:
    """The next state of an unfinished rotation, once a deploy has made the present one true on every host."""
    if strategy == "overlap" and entry.next is not None:
        return replace(entry, value=entry.next, previous=entry.value, next=None)
    return revoke(entry)


def revoke(entry: Entry) -> Entry:
    """The value before is accepted no longer."""
    return replace(entry, previous=None)
