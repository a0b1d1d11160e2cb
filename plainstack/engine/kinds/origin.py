"""Who made an account or a group: one that was there before Plainstack is never removed. The manifest's state says it
in its first word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from plainstack.engine.observed import FOUND, Entry

CREATED, PRESENT = "created", "found"


def origin(left: Sequence[Entry], there: bool) -> str:
    """What was noted first, or what is so now, for `there` is whether the host has it."""
    noted = [_first(entry) for entry in left if entry.who != FOUND]
    return noted[0] if noted else (PRESENT if there else CREATED)


def made(left: Sequence[Entry]) -> bool:
    """Whether Plainstack made it."""
    return _first(left[-1]) == CREATED


def gone(left: Sequence[Entry]) -> Literal["absent"]:  # noqa: ARG001
    """The state of what is not there."""
    return "absent"


def _first(entry: Entry) -> str:
    return entry.state.split(" ")[0]
