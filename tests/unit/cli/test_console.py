"""What a run prints: lines of progress without a terminal, and with --json only the document on standard output."""

from __future__ import annotations

import pytest

from plainstack.cli.console import Console, Progress


def test_without_a_terminal_events_are_printed_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Console())
    for step in ("wait for the host's lock", "write /etc/app.conf", "restart app.service"):
        progress.step("app1", "app", step)
    progress.ended("app1", "app", 1.25, "")
    progress.ended("db1", "db", 2, "failed; nothing was changed")
    reported = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert reported == [
        "app1: app begins",
        "app1: app: restart app.service",
        "app1: app done (1.2 s)",
        "db1: db FAILED: failed; nothing was changed (2.0 s)",
    ]


def test_without_a_terminal_output_that_follows_at_once_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Console())
    for host, line in (("app1", "1%"), ("app1", "2%"), ("app2", "1%")):
        progress.progress(host, "app", line)
    reported = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert reported == ["app1: app: 1%", "app2: app: 1%"]


def test_with_json_standard_output_holds_only_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(json=True)
    console.line("for a person")
    console.error("an error")
    reported = capsys.readouterr()
    assert (reported.out, reported.err) == ("", "for a person\nan error\n")
