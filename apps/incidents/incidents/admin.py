from django.contrib import admin

from incidents.models import Incident, Machine, Poll, Sample, Threshold


@admin.register(Machine)
class MachineAdmin(admin.ModelAdmin):
    list_display = ("name", "location", "address", "active")
    list_filter = ("active",)
    search_fields = ("name", "location", "address")


@admin.register(Threshold)
class ThresholdAdmin(admin.ModelAdmin):
    list_display = ("metric", "machine", "limit", "minutes", "severity")
    list_filter = ("metric", "severity")


@admin.register(Sample)
class SampleAdmin(admin.ModelAdmin):
    list_display = ("machine", "metric", "value", "taken_at", "received_at")
    list_filter = ("metric",)
    list_select_related = ("machine",)
    raw_id_fields = ("machine",)
    readonly_fields = ("received_at",)
    show_full_result_count = False  # there may be millions


@admin.register(Incident)
class IncidentAdmin(admin.ModelAdmin):
    list_display = ("summary", "machine", "kind", "severity", "opened_at", "closed_at")
    list_filter = ("severity", "kind")
    list_select_related = ("machine",)
    raw_id_fields = ("machine",)


@admin.register(Poll)
class PollAdmin(admin.ModelAdmin):
    list_display = ("machine", "outcome", "detail", "milliseconds", "taken_at")
    list_filter = ("outcome",)
    list_select_related = ("machine",)
    raw_id_fields = ("machine", "round")
    show_full_result_count = False
