"""Reads a machine's answer, such as {"cpu": 60, "mem": "30%", "disk": "43%", "uptime": "1d 2h 37m 6s"}."""

import json
import math
import re
from dataclasses import dataclass, field

from incidents.metrics import METRICS

# Languages print the nearest binary fraction, as in 33.333333333333336, and small ones as 5e-05.
NUMBER = re.compile(r"\s*((?:\d{1,9}(?:\.\d{1,60})?|\.\d{1,60})(?:[eE]-\d{1,3})?)\s*%?\s*", re.ASCII)
UPTIME = re.compile(r"\s*(?:(\d{1,6})d)?\s*(?:(\d{1,6})h)?\s*(?:(\d{1,6})m)?\s*(?:(\d{1,9})s)?\s*", re.ASCII)
SECONDS = (86400, 3600, 60, 1)


class NotAnObject(Exception):
    """The answer is not a JSON object."""


@dataclass(frozen=True)
class Answer:
    """`values` is keyed by metric; `problems` say which fields are missing or not numbers; `uptime` is in seconds."""

    values: dict[str, float] = field(default_factory=dict)
    uptime: float | None = None
    problems: tuple[str, ...] = ()


def number(value: object) -> float | None:
    """Return a number, or a text such as "30%", as a float; None for anything else, and for negative numbers."""
    if isinstance(value, str) and (found := NUMBER.fullmatch(value)):
        return float(found[1])
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            return None
        return result if math.isfinite(result) and result >= 0 else None
    return None


def uptime(value: object) -> float | None:
    """Return the seconds of a text such as "1d 2h 37m 6s", or of a number of seconds; None for anything else."""
    if isinstance(value, str) and value.strip() and (found := UPTIME.fullmatch(value)):
        return float(sum(int(count or 0) * seconds for count, seconds in zip(found.groups(), SECONDS, strict=True)))
    return number(value)


def parse(body: bytes) -> Answer:
    """Return what a body says; other fields are ignored. Raises NotAnObject."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAnObject(f"not JSON: {error}" if isinstance(error, json.JSONDecodeError) else "not JSON") from None
    if not isinstance(data, dict):
        raise NotAnObject("JSON, but not an object")
    values, problems = {}, []
    for metric in METRICS:
        if metric.field not in data:
            problems.append(f"{metric.field} is missing")
        elif (value := number(data[metric.field])) is None:
            problems.append(f"{metric.field} is {json.dumps(data[metric.field])[:40]}, not a number")
        else:
            values[metric.name] = value
    return Answer(values, uptime(data.get("uptime")), tuple(problems))
