from django.contrib import admin

from incidents.models import Incident, Machine, Sample, Threshold


@admin.register(Machine)
class MachineAdmin(admin.ModelAdmin):
    list_display = ("name", "location")
    search_fields = ("name", "location")


@admin.register(Threshold)
class ThresholdAdmin(admin.ModelAdmin):
    list_display = ("metric", "machine", "limit", "severity")
    list_filter = ("metric", "severity")


@admin.register(Sample)
class SampleAdmin(admin.ModelAdmin):
    list_display = ("machine", "metric", "value", "taken_at", "received_at")
    list_filter = ("metric",)
    list_select_related = ("machine",)
    raw_id_fields = ("machine",)
    readonly_fields = ("received_at",)


@admin.register(Incident)
class IncidentAdmin(admin.ModelAdmin):
    list_display = ("summary", "machine", "kind", "severity", "opened_at", "closed_at")
    list_filter = ("severity", "kind")
    list_select_related = ("machine",)
    raw_id_fields = ("machine",)
