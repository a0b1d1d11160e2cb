"""Workers: every process of the services that they run is up."""

from __future__ import annotations

from typing import Any

import pytest

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import running, stops

ROLE = "worker"


def test_every_process_runs_and_does_not_restart(host: Any, here: Host, stack: Stack) -> None:
    units = stops.units_on(stack, here)
    if not units:
        pytest.skip("every process of this host is stopped")
    before, after = host.check_output(running.twice(units)).split("\n=\n")
    assert running.working(before) == len(units), before
    assert after == before, f"restarted within two seconds: {after}"
