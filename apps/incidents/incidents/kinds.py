"""The kinds of incidents that polls open. To add a kind, write a class like Silent and add it to KINDS.

A kind looks at what is known about a machine and returns Verdict(opens=True) if there is an incident, Verdict(opens=
False) if there is none, or None if neither is certain; then an open incident stays open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from django.conf import settings

from incidents.metrics import METRICS, Limit, Metric, default_limit
from incidents.models import Outcome

SILENT = frozenset({Outcome.TIMEOUT, Outcome.REFUSED, Outcome.UNRESOLVED})
UNKNOWN = frozenset({Outcome.ERROR, Outcome.FORBIDDEN})
USABLE = frozenset({Outcome.OK, Outcome.PARTIAL})


@dataclass(frozen=True)
class Point:
    at: datetime
    value: float


@dataclass(frozen=True)
class Asked:
    """A poll, as kinds see it."""

    at: datetime
    outcome: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    opens: bool
    at: datetime
    summary: str = ""
    severity: str = ""


@dataclass(frozen=True)
class Case:
    """One machine: its samples by metric and its polls, oldest first, and the limits that apply to it."""

    samples: Mapping[str, Sequence[Point]]
    polls: Sequence[Asked]
    limits: Mapping[str, Limit]


class Kind(Protocol):
    name: str
    title: str

    def default(self) -> Limit | None: ...

    def verdict(self, case: Case) -> Verdict | None: ...


def tolerance() -> timedelta:
    """Return by how much samples may be late: a tenth of the interval."""
    return timedelta(seconds=settings.POLL_INTERVAL / 10)


def longest_gap() -> timedelta:
    """Return how far apart two samples may be if nothing is missing between them."""
    return timedelta(seconds=settings.POLL_INTERVAL * 1.5)


def exceeded(points: Sequence[Point], limit: Limit) -> bool | None:
    """Return whether the latest sample and all others of the window are above the limit.

    False: the latest is not. None: the latest is, but some are not, or the samples do not cover the window.
    """
    latest = first = points[-1]
    if latest.value <= limit.value:
        return False
    for earlier in reversed(points[:-1]):
        if earlier.value <= limit.value or first.at - earlier.at > longest_gap():
            break
        first = earlier
    covered = limit.window <= timedelta() or latest.at - first.at >= limit.window - tolerance()
    return True if covered else None


@dataclass(frozen=True)
class OverLimit:
    """A metric above its limit."""

    name: str
    title: str = ""
    unit: str = ""
    metric: Metric | None = None

    def default(self) -> Limit | None:
        metric = self.metric
        return metric and default_limit(metric.name, metric.limit, metric.minutes, metric.severity)

    def verdict(self, case: Case) -> Verdict | None:
        points, limit = case.samples.get(self.name), case.limits.get(self.name)
        if not points or not limit:
            return None
        over, latest = exceeded(points, limit), points[-1]
        minutes = limit.window.total_seconds() / 60
        since = f" for {minutes:g} minutes" if minutes else ""
        value, bound = f"{latest.value:g}{self.unit}", f"{limit.value:g}{self.unit}"
        summary = f"{self.title or self.name} is {value}, over {bound}{since}"
        return None if over is None else Verdict(over, latest.at, summary, limit.severity)


class Silent:
    """A machine that does not answer."""

    name, title = "silent", "No answer"

    def default(self) -> Limit:
        return default_limit(self.name, 0, 0, "critical")

    def verdict(self, case: Case) -> Verdict | None:
        return from_polls(case, self.name, [each for each in case.polls if each.outcome not in UNKNOWN], SILENT)


class Unusable:
    """A machine that answers, but without metrics."""

    name, title = "unusable", "Unusable answer"

    def default(self) -> Limit:
        return default_limit(self.name, 0, 0, "warning")

    def verdict(self, case: Case) -> Verdict | None:
        if case.polls and case.polls[-1].outcome in SILENT:
            return None
        polls = [each for each in case.polls if each.outcome not in SILENT]
        return from_polls(case, self.name, polls, frozenset(Outcome) - USABLE - SILENT)


def from_polls(case: Case, name: str, polls: Sequence[Asked], bad: frozenset[Outcome]) -> Verdict | None:
    if not polls:
        return None
    limit = case.limits[name]
    points = [Point(each.at, each.outcome in bad) for each in polls]
    over = exceeded(points, Limit(0, limit.window, limit.severity))
    if over is None:
        return None
    latest = polls[-1]
    label = Outcome(latest.outcome).label
    said = f"{label[:1].upper()}{label[1:]}: {latest.detail}".removesuffix(": ")
    return Verdict(over, latest.at, said[:300], limit.severity)


KINDS: tuple[Kind, ...] = (
    *(OverLimit(each.name, each.title, each.unit, each) for each in METRICS),
    Silent(),
    Unusable(),
)
