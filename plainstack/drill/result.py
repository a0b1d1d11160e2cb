"""A finished drill: the data behind its report and drill.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.drill.measures import Budgets, Marks
from plainstack.drill.verdict import Verdict


@dataclass(frozen=True)
class Event:
    """A step of the drill, `at` seconds after it began; a step with a `mark` is also shown in the chart."""

    at: float
    text: str
    mark: str = ""


@dataclass(frozen=True)
class Settings:
    """The settings of the drill, and the stack that it runs on."""

    drill: str
    stack: str
    started: str
    target: str
    fault: str
    rate: float
    seconds: float
    synchronous: bool
    budgets: Budgets
    victim: str = ""


@dataclass(frozen=True)
class Result:
    """A finished drill."""

    settings: Settings
    marks: Marks
    events: Sequence[Event]
    verdict: Verdict
    interrupted: bool = False

    def as_data(self) -> dict[str, Any]:
        """Return everything except the attempts as JSON data."""
        return {
            "passed": self.verdict.passed,
            "sentence": self.verdict.sentence,
            "interrupted": self.interrupted,
            **_plain(self.settings),
            "marks": _plain(self.marks),
            "verdict": _plain(self.verdict),
            "events": [_plain(event) for event in self.events],
        }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value
