"""Opens and closes incidents. All decisions are in kinds.py; this module reads what they need and writes the result."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q

from incidents.kinds import KINDS, Asked, Case, Kind, OverLimit, Point, longest_gap, tolerance
from incidents.metrics import METRICS, Limit
from incidents.models import LONGEST_WINDOW, Incident, Machine, Poll, Sample, Threshold

HOUR = timedelta(hours=1)
NAMES = frozenset(kind.name for kind in KINDS)


def locked(pks: Iterable[int]) -> dict[int, Machine]:
    """Lock machines, always in the same order, so that only one transaction at a time judges a machine."""
    no_key = connection.features.has_select_for_no_key_update
    rows = Machine.objects.select_for_update(no_key=no_key).filter(pk__in=list(pks)).order_by("pk")
    return {machine.pk: machine for machine in rows}


def limits(pks: Iterable[int], names: Sequence[str] = ()) -> dict[int, dict[str, Limit]]:
    """Return the limits of each machine: its own, else those for every machine, else those of the environment."""
    wanted = list(pks)
    default = {kind.name: limit for kind in KINDS if (limit := kind.default())}
    own: dict[int | None, dict[str, Limit]] = defaultdict(dict)
    rows = Threshold.objects.filter(Q(machine__in=wanted) | Q(machine=None))
    for row in rows.filter(metric__in=names) if names else rows:
        window = timedelta(minutes=min(max(row.minutes, 0), LONGEST_WINDOW))
        own[row.machine_id][row.metric] = Limit(row.limit, window, row.severity)
    return {pk: {**default, **own[None], **own[pk]} for pk in wanted}


def judge_sample(machine: Machine, metric: str, at: datetime) -> None:
    """Judge a machine's latest posted sample of one metric. Without a limit, nothing can be over it any longer."""
    limit = limits([machine.pk], [metric])[machine.pk].get(metric)
    if limit is None:
        Incident.objects.filter(machine=machine, kind=metric, closed_at=None).update(closed_at=at)
        return
    begin = at - limit.window - longest_gap() - tolerance()
    rows = Sample.objects.filter(machine=machine, metric=metric, taken_at__gte=begin).order_by("-taken_at", "-pk")
    latest = rows.values_list("taken_at", "value")[: None if limit.window else 1]
    points = [Point(*row) for row in reversed(latest)]
    shipped = next((kind for kind in KINDS if kind.name == metric), None)
    settle({machine.pk: Case({metric: points}, (), {metric: limit})}, [shipped or OverLimit(metric)])


def judge_polls(pks: Sequence[int], now: datetime) -> None:
    """Judge machines after they were polled."""
    found = limits(pks)
    groups: dict[timedelta, list[int]] = defaultdict(list)
    for pk in pks:
        groups[longest_window(found[pk])].append(pk)
    for window, members in groups.items():
        begin = now - window - longest_gap() - tolerance()
        settle(cases(members, begin, now, found), KINDS)


def longest_window(applied: Mapping[str, Limit]) -> timedelta:
    """Return the longest window of a machine, rounded up to an hour, two, four and so on.

    A machine with a long window must not make the samples of all others be read, and a few queries serve all machines.
    """
    longest = max((limit.window for name, limit in applied.items() if name in NAMES), default=timedelta())
    return HOUR * 2 ** math.ceil(math.log2(max(longest / HOUR, 1)))


def cases(
    pks: Sequence[int], begin: datetime, end: datetime, applied: Mapping[int, Mapping[str, Limit]]
) -> dict[int, Case]:
    """Read what the kinds look at."""
    samples: dict[int, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    between = {"machine__in": pks, "taken_at__gte": begin, "taken_at__lte": end}
    rows = Sample.objects.filter(metric__in=[metric.name for metric in METRICS], **between).order_by("taken_at", "pk")
    for pk, metric, at, value in rows.values_list("machine", "metric", "taken_at", "value"):
        samples[pk][metric].append(Point(at, value))
    polls: dict[int, list[Asked]] = defaultdict(list)
    asked = Poll.objects.filter(**between).order_by("taken_at", "pk")
    for pk, at, outcome, detail in asked.values_list("machine", "taken_at", "outcome", "detail"):
        polls[pk].append(Asked(at, outcome, detail))
    return {pk: Case(samples[pk], polls[pk], applied[pk]) for pk in pks}


def settle(cases: dict[int, Case], kinds: Sequence[Kind]) -> None:
    """Open and close incidents of locked machines."""
    rows = Incident.objects.filter(machine__in=list(cases), closed_at=None)
    open_now = {(row.machine_id, row.kind): row for row in rows}
    opened, closed = [], []
    for pk, case in cases.items():
        for kind in kinds:
            verdict, current = kind.verdict(case), open_now.get((pk, kind.name))
            if verdict and verdict.opens and not current:
                known = {"severity": verdict.severity, "opened_at": verdict.at, "summary": verdict.summary}
                opened.append(Incident(machine_id=pk, kind=kind.name, **known))
            elif verdict and not verdict.opens and current:
                current.closed_at = max(verdict.at, current.opened_at)
                closed.append(current)
    # The lock makes conflicts impossible among releases that use it; the constraint holds whatever happens.
    Incident.objects.bulk_create(opened, ignore_conflicts=True)
    Incident.objects.filter(closed_at=None).bulk_update(closed, ["closed_at"])
