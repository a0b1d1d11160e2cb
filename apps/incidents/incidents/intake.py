"""Accepts samples: parses the JSON, stores each sample once, and compares it with its threshold."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from incidents import judging
from incidents.models import Machine, Sample

CLOCK_SKEW = timedelta(minutes=5)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class Invalid(Exception):
    """A field of a posted sample cannot be used."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


@dataclass(frozen=True)
class NewSample:
    machine: str
    metric: str
    value: float
    taken_at: datetime
    key: str | None


def parse(data: object) -> NewSample:
    if not isinstance(data, dict):
        raise Invalid("body", "must be a JSON object")
    for field in data:
        if field not in NewSample.__dataclass_fields__:
            raise Invalid(field, "unknown field")
    return NewSample(
        machine=text(data, "machine"),
        metric=text(data, "metric"),
        value=number(data, "value"),
        taken_at=timezone.now() if data.get("taken_at") is None else moment(data, "taken_at"),
        key=None if data.get("key") is None else text(data, "key"),
    )


def text(data: dict[str, object], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not 1 <= len(value) <= 100 or not value.isprintable() or value != value.strip():
        raise Invalid(field, "must be text of 1 to 100 printable characters, without spaces at the start or end")
    return value


def number(data: dict[str, object], field: str) -> float:
    value = data.get(field)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise Invalid(field, "must be a finite number")


def moment(data: dict[str, object], field: str) -> datetime:
    try:
        value = parse_datetime(text(data, field))
        if value is None or value.tzinfo is None:
            raise ValueError
        value = value.astimezone(UTC)
    except (Invalid, ValueError, OverflowError):
        raise Invalid(field, "must be an ISO 8601 time with an offset, such as 2026-01-31T12:00:00Z") from None
    if value < EARLIEST:
        raise Invalid(field, f"is before {EARLIEST:%Y}")
    if value > timezone.now() + CLOCK_SKEW:
        raise Invalid(field, "is in the future")
    return value


@transaction.atomic
def store(new: NewSample) -> tuple[Sample, bool]:
    """Store a sample; return it and whether it is new. For a known key, return the sample stored under that key."""
    if new.key and (known := Sample.objects.filter(key=new.key).first()):
        return known, False
    machine, _ = Machine.objects.get_or_create(name=new.machine)
    # Before the sample is stored: on MySQL, that takes a lock of the machine too, which two requests could not widen.
    machine = judging.locked([machine.pk])[machine.pk]
    values = {"machine": machine, "metric": new.metric, "value": new.value, "taken_at": new.taken_at}
    if new.key is None:
        sample, created = Sample.objects.create(**values), True
    else:  # if two requests send the same key at the same time, the unique constraint lets only one create a row
        sample, created = Sample.objects.get_or_create(key=new.key, defaults=values)
    if created:
        judge(machine, sample)
    return sample, created


def judge(machine: Machine, sample: Sample) -> None:
    """Open or close the incident of this locked machine and metric; ignore a sample older than the latest one."""
    if not Sample.objects.filter(machine=machine, metric=sample.metric, taken_at__gt=sample.taken_at).exists():
        judging.judge_sample(machine, sample.metric, sample.taken_at)
