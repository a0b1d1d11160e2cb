"""The calendars of timers: a host's systemd is asked, and a deploy is refused before anything changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from plainstack.engine.observed import Observed
from plainstack.inventory.stack import Stack
from plainstack.roles import app
from plainstack.services import calendars
from tests import inventories

pytestmark = pytest.mark.programs

TEXT = """
stack: small
hosts: {a: {address: 10.0.0.2, roles: [app]}, b: {address: 10.0.0.3, roles: [app]}}
services:
  api:
    kind: python
    source: src
    processes: {run: {command: serve}}
    timers: {clean: {command: clean, calendar: "CALENDAR"}}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "requirements.txt").touch()
    return tmp_path


def refused(stack: Stack, host: str) -> list[str]:
    """Run the lines of the probe here, and return the refusals that follow from what they print."""
    lines = "set -eu\n" + "\n".join(calendars.facts(stack, stack.hosts[host]))
    printed = subprocess.run(["/bin/sh", "-c", lines], capture_output=True, text=True, check=True).stdout
    seen = Observed(facts=dict(line.split("=", 1) for line in printed.splitlines()))
    return [one.text for one in app.findings(stack, stack.hosts[host], seen) if one.refused]


@pytest.mark.parametrize("calendar", ["every day", "*:99", "Mon..Fri", "25:00"])
def test_a_calendar_is_refused_if_systemd_does_not_understand_it(source: Path, calendar: str) -> None:
    stack = inventories.parse(TEXT.replace("CALENDAR", calendar), "hosts.yaml", source)
    valid = calendar == "Mon..Fri"
    reported = f"services.api.timers.clean.calendar: systemd does not understand {calendar!r}. Write it as in"
    assert [text.startswith(reported) for text in refused(stack, "a")] == ([] if valid else [True])
    # The timer runs on the first host only, because there is no database.
    assert refused(stack, "b") == []
