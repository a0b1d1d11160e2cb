"""`inv log` prints one line for each event, with its details below on request."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plainstack.cli.console import Console
from plainstack.deploy import audit

EVENT = {
    "at": "2026-01-01T00:00:00Z",
    "who": "me@laptop",
    "commit": "abc",
    "role": "db",
    "result": "done",
    "command": "inv deploy",
    "actions": ["write /etc/a", "restart a.service"],
}


def test_every_event_is_a_row_with_its_number_of_actions_and_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    events = audit.parse("db1", f'{json.dumps(EVENT)}\n{{"cut short\n')
    Console().table(audit.HEADER, [event.row() for event in events])
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["2026-01-01T00:00:00Z", "me@laptop", "db1", "db", "2", "done"]


def test_details_are_printed_below_their_event(capsys: pytest.CaptureFixture[str]) -> None:
    events = audit.parse("db1", f"{json.dumps(EVENT)}\n" * 2)
    Console().table(audit.HEADER, [event.row() for event in events], [event.details() for event in events])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:5] == ["    from abc: inv deploy", "    write /etc/a", "    restart a.service"]
    assert lines[1::4] == [lines[1], lines[1]]


@pytest.mark.programs
def test_the_start_of_a_command_is_an_event_that_shows_the_command_unchanged(tmp_path: Path) -> None:
    log = tmp_path / "var/log/plainstack/audit.jsonl"
    log.parent.mkdir(parents=True)
    line = """sh -c 'echo "%s" \\n'"""
    script = audit.started("me@laptop", "abc", "inv exec web", "exec web", [line])
    subprocess.run(["sh", "-c", script], env={**os.environ, "ROOT": str(tmp_path)}, check=True)
    [event] = audit.parse("app1", log.read_text(encoding="utf-8"))
    assert (event.who, event.role, event.result, event.actions) == ("me@laptop", "exec web", "started", (line,))
    assert datetime.fromisoformat(event.at).tzinfo == UTC
