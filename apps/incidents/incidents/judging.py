"""Opens and closes incidents. All decisions are in kinds.py; this module reads what they need and writes the result."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q

from incidents.kinds import KINDS, Asked, Case, Kind, OverLimit, Point, longest_gap, tolerance
from incidents.metrics import METRICS, Limit
from incidents.models import Incident, Machine, Poll, Sample, Threshold


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
        own[row.machine_id][row.metric] = Limit(row.limit, timedelta(minutes=row.minutes), row.severity)
    return {pk: {**default, **own[None], **own[pk]} for pk in wanted}


def judge_sample(machine: Machine, metric: str, at: datetime) -> None:
    """Judge a machine's latest posted sample of one metric."""
    found = limits([machine.pk], [metric])[machine.pk]
    if metric not in found:
        return
    rows = Sample.objects.filter(machine=machine, metric=metric, taken_at__gte=since(at, [found[metric]]))
    points = [Point(*row) for row in rows.order_by("taken_at", "pk").values_list("taken_at", "value")]
    shipped = next((kind for kind in KINDS if kind.name == metric), None)
    settle({machine.pk: Case({metric: points}, (), found)}, [shipped or OverLimit(metric)])


def judge_polls(pks: Sequence[int], now: datetime) -> None:
    """Judge machines after they were polled."""
    found = limits(pks)
    kinds = {kind.name for kind in KINDS}
    begin = since(now, [limit for each in found.values() for name, limit in each.items() if name in kinds])
    samples: dict[int, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    rows = Sample.objects.filter(
        machine__in=pks, metric__in=[metric.name for metric in METRICS], taken_at__gte=begin, taken_at__lte=now
    )
    for pk, metric, at, value in rows.order_by("taken_at", "pk").values_list("machine", "metric", "taken_at", "value"):
        samples[pk][metric].append(Point(at, value))
    polls: dict[int, list[Asked]] = defaultdict(list)
    asked = Poll.objects.filter(machine__in=pks, taken_at__gte=begin, taken_at__lte=now).order_by("taken_at", "pk")
    for pk, at, outcome, detail in asked.values_list("machine", "taken_at", "outcome", "detail"):
        polls[pk].append(Asked(at, outcome, detail))
    settle({pk: Case(samples[pk], polls[pk], found[pk]) for pk in pks}, KINDS)


def since(now: datetime, applied: Iterable[Limit]) -> datetime:
    longest = max((limit.window for limit in applied), default=timedelta())
    return now - longest - longest_gap() - tolerance()


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
    for incident in closed:
        Incident.objects.filter(pk=incident.pk, closed_at=None).update(closed_at=incident.closed_at)
