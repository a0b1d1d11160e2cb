"""Machines send samples. A sample above its threshold opens an incident; a later one at or below it closes it."""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Severity(models.TextChoices):
    WARNING = "warning"
    CRITICAL = "critical"


class Machine(models.Model):
    name = models.CharField(max_length=100, unique=True)
    location = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Threshold(models.Model):
    """The highest normal value of a metric, for one machine or for every machine that has no threshold of its own."""

    machine = models.ForeignKey(Machine, models.CASCADE, null=True, blank=True, help_text="Empty: every machine.")
    metric = models.CharField(max_length=100)
    limit = models.FloatField()
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.WARNING)

    class Meta:
        ordering = ("metric", "machine")
        constraints = (
            models.UniqueConstraint(fields=["machine", "metric"], name="one_threshold_a_machine"),
            models.UniqueConstraint(fields=["metric"], condition=Q(machine=None), name="one_threshold_for_all"),
        )

    def __str__(self) -> str:
        return f"{self.metric} of {self.machine or 'every machine'} over {self.limit:g}: {self.severity}"


class Sample(models.Model):
    machine = models.ForeignKey(Machine, models.CASCADE)
    metric = models.CharField(max_length=100)
    value = models.FloatField()
    taken_at = models.DateTimeField(default=timezone.now)
    received_at = models.DateTimeField(auto_now_add=True)
    key = models.CharField(max_length=100, null=True, blank=True, unique=True, help_text="Makes a retry harmless.")

    class Meta:
        ordering = ("-taken_at", "-id")
        indexes = (models.Index(fields=["machine", "metric", "-taken_at"], name="latest_sample"),)

    def __str__(self) -> str:
        return f"{self.machine} {self.metric} = {self.value:g}"


class Incident(models.Model):
    machine = models.ForeignKey(Machine, models.CASCADE)
    kind = models.CharField(max_length=100, help_text="The metric that went over its threshold.")
    severity = models.CharField(max_length=10, choices=Severity)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    summary = models.CharField(max_length=300)

    class Meta:
        ordering = (F("closed_at").desc(nulls_first=True), "-opened_at", "-id")  # open incidents first
        constraints = (
            models.UniqueConstraint(
                fields=["machine", "kind"], condition=Q(closed_at=None), name="one_open_incident_a_kind"
            ),
        )

    def __str__(self) -> str:
        return f"{self.machine}: {self.summary}"
