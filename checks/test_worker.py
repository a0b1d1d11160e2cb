"""Workers: every process of the services that they run is up."""

from __future__ import annotations

from typing import Any

import pytest

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import running, stops

ROLE = "worker"


def test_every_process_of_a_worker_runs_and_does_not_restart(host: Any, here: Host, stack: Stack) -> None:
    units = stops.units_on(stack, here)
    if not units:
        pytest.skip("every process of this host is stopped")
    before, after = host.check_output(running.twice(units)).split("\n=\n")
    idle = running.idle(before)
    assert not idle, f"not every process runs: {'; '.join(idle)}"
    restarted = running.changed(before, after)
    assert not restarted, f"restarted or ended within two seconds: {', '.join(restarted)}"


def test_the_last_run_of_every_timer_of_a_worker_succeeded(host: Any, here: Host, stack: Stack) -> None:
    """A run that is under way has not failed."""
    started = stops.started_by_timers(stack, here)
    if not started:
        pytest.skip("no timer of a service runs on this host")
    states = host.run(f"systemctl is-active {' '.join(started)}").stdout.split()
    failed = [unit for unit, state in zip(started, states, strict=True) if state == "failed"]
    assert not failed, f"the last run of {' and '.join(failed)} failed: journalctl -u {failed[0]}"
