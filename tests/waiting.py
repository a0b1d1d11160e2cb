"""Waiting for what another process does: for the condition itself, and for as long as a busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
# Seconds. Only a test that fails waits for so long.
PATIENCE = 120


def until(look: Callable[[], Value], what: object = "") -> Value:
    """What `look` gives, as soon as that is true. Raises AssertionError when it never is."""
    give_up = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < give_up, what or f"it is still {seen!r}"
        time.sleep(0.02)
    return seen
