"""Drills that must pass on a machine which is busy with other labs."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.operator import Operator
from tests.waiting import until

# A small load, with a generous limit for gaps, because a busy machine is slow; lost writes are never allowed.
LOAD = ("--rate=16", "--max-read-gap=20")
GAP = 20
# A drill is refused, and breaks nothing, while the machine is busy with other labs. Another one is then tried.
SLOW = "Try a lower --rate"


def passed(operator: Operator, target: str, fault: str, *words: str, gap: int = GAP) -> dict[str, Any]:
    """Run a drill that must pass, with more options if `words` are given, and return its JSON.

    `gap` limits the seconds without writes.
    """
    typed = ("drill", f"--target={target}", f"--fault={fault}", *LOAD, f"--max-gap={gap}", *words, "--json")
    (done,) = until(lambda: [] if SLOW in (done := operator.fab(*typed, code=None)).out else [done], SLOW)
    data: dict[str, Any] = json.loads(done.out)
    assert data.get("passed"), (data.get("sentence") or data, done.err[-4000:])
    assert done.code == 0
    return data
