"""Terminal output: text, tables, questions, and the progress of a run."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from plainstack.cli.streams import guard


class Console:
    """Prints text for people: on a terminal with colours and a live table, otherwise one line per event."""

    def __init__(self, *, json: bool = False) -> None:
        guard()
        # With --json, stdout carries only the JSON document; everything else goes to stderr.
        self._stream = sys.stderr if json else sys.stdout
        self.live = self._stream.isatty()
        # Reentrant, because a signal handler may print while another line is being printed.
        self._lock = threading.RLock()

    @cached_property
    def rich(self) -> Any:
        """The Rich console; imported late, because output to a pipe does not need it."""
        from rich.console import Console as RichConsole

        return RichConsole(file=self._stream, highlight=False, soft_wrap=True)

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line of text."""
        with self._lock:
            if self.live:
                self.rich.print(text, style=style or None, markup=False)
            else:
                print(text, file=self._stream, flush=True)

    def plan(self, lines: Sequence[str]) -> None:
        """Print a plan's lines, coloured by action."""
        colours = {"+": "green", "-": "red", "!": "bold yellow", "~": "cyan", "@": "magenta"}
        for text in lines:
            stripped = text.lstrip()
            self.line(text, colours.get(stripped[:1], "") if text.startswith(" ") else "bold")

    def error(self, text: str) -> None:
        """Print an error on stderr."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - it prints errors

    def ask(self, question: str) -> str:
        """Ask a question and return the answer in lower case; empty if stdin is not a terminal."""
        if not sys.stdin.isatty():
            return ""
        return input(question).strip().lower()

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], details: Sequence[Sequence[str]] = ()
    ) -> None:
        """Print a table with columns as wide as their content; `details` are lines to print below each row."""
        widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
        below = details or [()] * len(rows)
        for number, (line, more) in enumerate(zip([header, *rows], [(), *below], strict=True)):
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            self.line(text, "bold" if number == 0 else "")
            for detail in more:
                self.line(detail)

    def progress(self) -> Progress:
        """Return a listener that shows the progress of a run."""
        return LiveProgress(self) if self.live else Progress(self)


# Seconds.
_PROGRESS_EVERY = 5.0


class Progress:
    """Prints stages and the more important steps of a run, one line each."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()
        self._started: set[tuple[str, str]] = set()
        self._told: dict[str, float] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def _say(self, text: str) -> None:
        self.console.line(f"[{time.monotonic() - self.began:6.1f}s] {text}")

    def step(self, host: str, stage: str, step: str) -> None:
        if (host, stage) not in self._started:
            self._started.add((host, stage))
            self._say(f"{host}: {stage} begins")
        if step.startswith(
            (
                "install ",
                "run ",
                "start ",
                "restart ",
                "reload ",
                "stop ",
                "undo",
                "let ",
                "build",
                "wait for an earlier",
                "wait until ",
                "waiting for ",
            )
        ):
            self._say(f"{host}: {stage}: {step}")

    def progress(self, host: str, stage: str, line: str) -> None:
        # Logs are read later: a line every few seconds is enough.
        if time.monotonic() - self._told.get(host, -math.inf) >= _PROGRESS_EVERY:
            self._told[host] = time.monotonic()
            self._say(f"{host}: {stage}: {line}")

    def ended(self, host: str, stage: str, seconds: float, error: str) -> None:
        self._say(f"{host}: {stage} {'FAILED: ' + error if error else 'done'} ({seconds:.1f} s)")

    def note(self, text: str) -> None:
        self._say(text)


class LiveProgress(Progress):
    """Shows the current step of every host and its duration in a table that the terminal redraws."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        from rich.live import Live

        self._rows: dict[str, tuple[str, str, float]] = {}
        self._live = Live(get_renderable=self._table, console=console.rich, refresh_per_second=8, transient=True)

    def __enter__(self) -> Progress:
        self._live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._live.__exit__(*details)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for host, (stage, step, since) in sorted(self._rows.items()):
            table.add_row(host, stage, step, f"{time.monotonic() - since:.1f} s")
        return table

    def step(self, host: str, stage: str, step: str) -> None:
        self._rows[host] = (stage, step, time.monotonic())

    def progress(self, host: str, stage: str, line: str) -> None:
        if host in self._rows:
            self._rows[host] = (stage, line, self._rows[host][2])

    def ended(self, host: str, stage: str, seconds: float, error: str) -> None:
        self._rows.pop(host, None)
        super().ended(host, stage, seconds, error)
