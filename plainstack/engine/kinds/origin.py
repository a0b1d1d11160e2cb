"""The origin of an account or a group: Plainstack never removes one that existed before it.

The first word of the manifest's state records the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from plainstack.engine.observed import FOUND, Entry

CREATED, PRESENT = "created", "found"


def origin(left: Sequence[Entry], there: bool) -> str:
    """Return the recorded origin; without one, PRESENT if the host has the account or group (`there`), else CREATED."""
    noted = [_first(entry) for entry in left if entry.who != FOUND]
    return noted[0] if noted else (PRESENT if there else CREATED)


def made(left: Sequence[Entry]) -> bool:
    """Return whether Plainstack created the account or group."""
    return _first(left[-1]) == CREATED


def gone(_left: Sequence[Entry]) -> Literal["absent"]:
    """Return the state after a removal."""
    return "absent"


def _first(entry: Entry) -> str:
    return entry.state.split(" ")[0]
