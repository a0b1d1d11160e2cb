"""Machines, their samples and polls, and the incidents that follow from these."""

from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from incidents import addresses


class Severity(models.TextChoices):
    WARNING = "warning"
    CRITICAL = "critical"


def check_address(value: str) -> None:
    try:
        addresses.parts(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


class Machine(models.Model):
    """A machine posts its samples, or is polled at its address. The defaults in the database are for older releases."""

    name = models.CharField(max_length=100, unique=True)
    location = models.CharField(max_length=200, blank=True)
    address = models.CharField(
        max_length=500,
        blank=True,
        db_default="",
        default="",
        validators=[check_address],
        help_text="Where it is polled, such as http://press-1.example:8080/status. Empty: it posts its samples.",
    )
    active = models.BooleanField(default=True, db_default=True, help_text="Whether it is polled.")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


LONGEST_WINDOW = 525_600  # minutes: a year


class Threshold(models.Model):
    """The highest normal value of a metric, for one machine or for every machine that has no threshold of its own."""

    machine = models.ForeignKey(Machine, models.CASCADE, null=True, blank=True, help_text="Empty: every machine.")
    metric = models.CharField(max_length=100, help_text="cpu, memory, disk, silent, unusable, or a posted metric.")
    limit = models.FloatField(help_text="Not used for silent and unusable; write 0.")
    minutes = models.FloatField(
        default=0,
        db_default=0,
        validators=[MinValueValidator(0), MaxValueValidator(LONGEST_WINDOW)],
        help_text="How long every sample must be above the limit. 0: one sample is enough.",
    )
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.WARNING)
    # MySQL has no unique index over some of the rows, and in every database, NULLs differ from each other.
    scope = models.GeneratedField(
        expression=Coalesce(F("machine_id"), Value(0)), output_field=models.BigIntegerField(), db_persist=True
    )

    class Meta:
        ordering = ("metric", "machine")
        constraints = (models.UniqueConstraint(fields=["scope", "metric"], name="one_threshold_a_scope"),)

    def __str__(self) -> str:
        return f"{self.metric} of {self.machine or 'every machine'} over {self.limit:g}: {self.severity}"

    def clean(self) -> None:
        # Django does not validate constraints over generated columns.
        if Threshold.objects.filter(machine=self.machine, metric=self.metric).exclude(pk=self.pk).exists():
            raise ValidationError(f"There is a threshold for {self.metric} of {self.machine or 'every machine'}.")


class Sample(models.Model):
    machine = models.ForeignKey(Machine, models.CASCADE)
    metric = models.CharField(max_length=100)
    value = models.FloatField()
    taken_at = models.DateTimeField(default=timezone.now)
    received_at = models.DateTimeField(auto_now_add=True)
    key = models.CharField(max_length=100, null=True, blank=True, unique=True, help_text="Makes a retry harmless.")

    class Meta:
        ordering = ("-taken_at", "-id")
        indexes = (
            models.Index(fields=["machine", "metric", "-taken_at"], name="latest_sample"),
            models.Index(fields=["taken_at"], name="samples_by_time"),
        )

    def __str__(self) -> str:
        return f"{self.machine} {self.metric} = {self.value:g}"


class Round(models.Model):
    """One pass over all polled machines. Its time, a multiple of the interval, makes a second start harmless."""

    at = models.DateTimeField(unique=True)
    sent_at = models.DateTimeField(null=True, blank=True, help_text="When its tasks were last sent to the workers.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return self.at.isoformat(timespec="seconds")


class Outcome(models.TextChoices):
    """What became of a request to a machine."""

    OK = "ok"
    PARTIAL = "partial", "some metrics are missing or not numbers"
    NO_METRICS = "no_metrics", "no metric that is known"
    BAD_JSON = "bad_json", "not a JSON object"
    STATUS = "status", "a status other than 200"
    REDIRECT = "redirect", "a redirect"
    TOO_LARGE = "too_large", "a body that is too large"
    BROKEN = "broken", "not HTTP, or cut off"
    TIMEOUT = "timeout", "no complete answer in time"
    REFUSED = "refused", "no connection"
    TLS = "tls", "no trusted certificate"
    UNRESOLVED = "unresolved", "its name has no address"
    FORBIDDEN = "forbidden", "its address may not be polled"
    ERROR = "error", "an error of this application"


class Poll(models.Model):
    """The outcome of one request to one machine in one round."""

    round = models.ForeignKey(Round, models.CASCADE)
    machine = models.ForeignKey(Machine, models.CASCADE)
    taken_at = models.DateTimeField()
    outcome = models.CharField(max_length=20, choices=Outcome)
    detail = models.CharField(max_length=300, blank=True)
    milliseconds = models.PositiveIntegerField()
    uptime = models.FloatField(null=True, blank=True, help_text="In seconds.")

    class Meta:
        ordering = ("-taken_at", "-id")
        constraints = (models.UniqueConstraint(fields=["round", "machine"], name="one_poll_a_round"),)
        indexes = (
            models.Index(fields=["machine", "-taken_at"], name="latest_poll"),
            models.Index(fields=["taken_at"], name="polls_by_time"),
        )

    def __str__(self) -> str:
        return f"{self.machine}: {self.outcome}"

    @property
    def since(self) -> datetime | None:
        """When the machine was started, as it says."""
        try:
            return None if self.uptime is None else self.taken_at - timedelta(seconds=self.uptime)
        except OverflowError:
            return None


class Incident(models.Model):
    machine = models.ForeignKey(Machine, models.CASCADE)
    kind = models.CharField(max_length=100, help_text="The metric that went over its threshold, or another kind.")
    severity = models.CharField(max_length=10, choices=Severity)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    summary = models.CharField(max_length=300)
    # As in Threshold.scope: 1 while the incident is open, otherwise NULL, of which there may be many.
    is_open = models.GeneratedField(
        expression=Case(When(Q(closed_at=None), then=Value(1)), default=Value(None)),
        output_field=models.SmallIntegerField(null=True),
        db_persist=True,
    )

    class Meta:
        ordering = (F("closed_at").desc(nulls_first=True), "-opened_at", "-id")  # open incidents first
        indexes = (models.Index(fields=["-closed_at", "-opened_at", "-id"], name="incidents_by_time"),)
        constraints = (models.UniqueConstraint(fields=["machine", "kind", "is_open"], name="one_open_incident"),)

    def __str__(self) -> str:
        return f"{self.machine}: {self.summary}"

    def clean(self) -> None:
        same = Incident.objects.filter(machine=self.machine_id, kind=self.kind, closed_at=None)
        if self.closed_at is None and same.exclude(pk=self.pk).exists():
            raise ValidationError("The machine has another open incident of this kind.")
        if self.closed_at and self.opened_at and self.closed_at < self.opened_at:
            raise ValidationError({"closed_at": "is before the incident was opened."})


class FailedLogIn(models.Model):
    """A log-in with a wrong name or password. All hosts count these together."""

    who = models.CharField(max_length=64, help_text="A digest of the name, or of the address.")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = (models.Index(fields=["who", "at"], name="failures_by_time"),)

    def __str__(self) -> str:
        return f"{self.who[:8]} {self.at:%H:%M:%S}"
