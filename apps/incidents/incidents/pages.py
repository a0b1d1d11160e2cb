"""What the pages and the API show: the list of incidents with its filters, and a machine with its history."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet, Value
from django.db.models.functions import Lower
from django.http import QueryDict
from django.urls import reverse
from django.utils.functional import cached_property

from incidents import judging
from incidents.charts import Chart, chart
from incidents.kinds import KINDS, OverLimit, Point
from incidents.models import Incident, Machine, Sample

PAGE_SIZE = 25
STATES = ("open", "closed")
RANGES = {"1": "24 hours", "7": "7 days", "30": "30 days"}
MOST_POINTS = 5000


@dataclass(frozen=True)
class Filters:
    state: str = ""
    kind: str = ""
    machine: str = ""

    @classmethod
    def of(cls, query: QueryDict) -> "Filters":
        given = {name: query.get(name, "").replace("\0", "").strip()[:100] for name in ("state", "kind", "machine")}
        return cls(given["state"] if given["state"] in STATES else "", given["kind"], given["machine"])

    def apply(self, rows: "QuerySet[Incident]") -> "QuerySet[Incident]":
        if self.state:
            rows = rows.filter(closed_at__isnull=self.state == "open")
        if self.kind:
            rows = rows.filter(kind=self.kind)
        if self.machine:
            rows = named(rows, "machine__name", self.machine)
        return rows


def named(rows: "QuerySet[Any]", field: str, text: str) -> "QuerySet[Any]":
    """Return the rows whose machine's name contains a text. Not icontains: on MySQL, it depends on the collation."""
    return rows.alias(lower=Lower(field)).filter(lower__contains=Lower(Value(text)))


class FirstPages(Paginator):
    """Counts no further than MOST rows, because there may be millions; the filters find the others."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        return int(self.object_list.order_by()[: self.MOST].count())


def incidents(query: QueryDict) -> Page[Incident]:
    rows = Filters.of(query).apply(Incident.objects.select_related("machine"))
    return FirstPages(rows, PAGE_SIZE).get_page(query.get("page"))


def as_json(incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.pk,
        "machine": incident.machine.name,
        "location": incident.machine.location,
        "page": reverse("machine", args=[incident.machine_id]),
        "kind": incident.kind,
        "severity": incident.severity,
        "opened_at": incident.opened_at,
        "closed_at": incident.closed_at,
        "summary": incident.summary,
    }


def without_page(query: QueryDict) -> str:
    """Return the query string of the filters alone, to which a page can be added."""
    rest = query.copy()
    rest.pop("page", None)
    text = rest.urlencode()
    return f"{text}&" if text else ""


def history(machine: Machine, begin: datetime, end: datetime) -> list[Chart]:
    """Return a chart for each metric of a machine that has a limit, and samples in that time."""
    shipped = {kind.name: kind for kind in KINDS}
    charts = []
    for name, limit in judging.limits([machine.pk])[machine.pk].items():
        kind = shipped.get(name, OverLimit(name))
        if not isinstance(kind, OverLimit):
            continue
        rows = Sample.objects.filter(machine=machine, metric=name, taken_at__gte=begin, taken_at__lte=end)
        latest = rows.order_by("-taken_at").values_list("taken_at", "value")[:MOST_POINTS]
        points = [Point(*row) for row in reversed(latest)]
        if drawn := chart(kind.title or name, kind.unit, points, limit.value, begin, end):
            charts.append(drawn)
    return charts


def span(query: QueryDict) -> tuple[str, timedelta]:
    days = query.get("days", "1")
    days = days if days in RANGES else "1"
    return days, timedelta(days=int(days))
