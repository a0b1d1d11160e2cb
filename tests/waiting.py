"""Wait for another process: for the condition itself, not for a fixed time, and as long as a busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
# Seconds. Only a failing test waits this long.
PATIENCE = 120


def until(look: Callable[[], Value], what: object = "") -> Value:
    """Call `look` until its result is true, and return that result. Raises AssertionError after PATIENCE."""
    began = time.monotonic()
    give_up = began + PATIENCE
    while not (seen := look()):
        ended = time.monotonic()
        assert ended < give_up, what or f"it is still {seen!r}"
        # A look may start programs on hosts. Pausing as long as it took leaves the processor to what is awaited.
        time.sleep(min(max(ended - began, 0.02), 1))
        began = time.monotonic()
    return seen
