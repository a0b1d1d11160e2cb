from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from incidents.kinds import KINDS
from incidents.models import Incident, Machine, Poll, Sample, Threshold
from incidents.pages import FirstPages


class ByKind(admin.SimpleListFilter):
    """Offers the kinds and the metrics with a limit, without looking for others in millions of rows."""

    parameter_name = title = ""

    def lookups(self, _request: HttpRequest, _admin: Any) -> list[tuple[str, str]]:
        posted = Threshold.objects.order_by("metric").values_list("metric", flat=True).distinct()
        names = dict.fromkeys([*(kind.name for kind in KINDS), *posted])
        return [(name, name) for name in names]

    def queryset(self, _request: HttpRequest, rows: "QuerySet[Any]") -> "QuerySet[Any]":
        return rows.filter(**{self.parameter_name: self.value()}) if self.value() else rows


class ByMetric(ByKind):
    parameter_name = title = "metric"


class ByIncidentKind(ByKind):
    parameter_name = title = "kind"


@admin.register(Machine)
class MachineAdmin(admin.ModelAdmin):
    list_display = ("name", "location", "address", "active")
    list_filter = ("active",)
    search_fields = ("name", "location", "address")


@admin.register(Threshold)
class ThresholdAdmin(admin.ModelAdmin):
    list_display = ("metric", "machine", "limit", "minutes", "severity")
    list_filter = ("metric", "severity")
    list_select_related = ("machine",)


class ManyRows(admin.ModelAdmin):
    list_select_related = ("machine",)
    raw_id_fields: tuple[str, ...] = ("machine",)
    paginator = FirstPages
    show_full_result_count = False


@admin.register(Sample)
class SampleAdmin(ManyRows):
    list_display = ("machine", "metric", "value", "taken_at", "received_at")
    list_filter = (ByMetric,)
    readonly_fields = ("received_at",)


@admin.register(Incident)
class IncidentAdmin(ManyRows):
    list_display = ("summary", "machine", "kind", "severity", "opened_at", "closed_at")
    list_filter = ("severity", ByIncidentKind)


@admin.register(Poll)
class PollAdmin(ManyRows):
    list_display = ("machine", "outcome", "detail", "milliseconds", "taken_at")
    list_filter = ("outcome",)
    raw_id_fields = ("machine", "round")
