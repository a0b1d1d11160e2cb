"""Saved drills: each has a folder with its HTML page, its numbers and every attempt."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from plainstack.drill import history, page
from plainstack.drill.history import Attempt
from plainstack.drill.result import Result
from plainstack.inventory.stack import Stack


def folder(stack: Stack) -> Path:
    """Return the folder of all drills of a stack."""
    return stack.folder / "reports" / stack.stack


def save(stack: Stack, result: Result, attempts: Collection[Attempt]) -> Path:
    """Write report.html, drill.json and history.jsonl; return the path of report.html."""
    settings = result.settings
    place = folder(stack) / f"{settings.drill}-{settings.target}-{settings.fault}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "history.jsonl").write_text(history.dump(attempts), encoding="utf-8")
    (place / "drill.json").write_text(json.dumps(result.as_data(), indent=2) + "\n", encoding="utf-8")
    report = place / "report.html"
    report.write_text(page.html(result, attempts), encoding="utf-8")
    return report


def past(stack: Stack) -> list[dict[str, Any]]:
    """Return the saved drills, the oldest first; an unreadable drill appears as failed, with an error message."""
    found = []
    for path in sorted(folder(stack).glob("*/drill.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            line = {key: data[key] for key in ("drill", "started", "target", "fault", "victim", "passed", "sentence")}
        except (OSError, ValueError, KeyError, TypeError):
            line = {"drill": path.parent.name, "passed": False, "sentence": f"{path} cannot be read"}
        found.append({**line, "report": str(path.with_name("report.html"))})
    return found
