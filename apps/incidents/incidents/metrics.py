"""What a polled machine reports. To add a metric, add a line to METRICS: everything else follows from it."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings


@dataclass(frozen=True)
class Limit:
    """A value that is too high once every sample of `window` is above it; a window of zero needs one sample."""

    value: float
    window: timedelta
    severity: str


@dataclass(frozen=True)
class Metric:
    """`field` is the key in a machine's answer, `unit` follows a value, and the rest are the default limits."""

    name: str
    field: str
    title: str
    unit: str
    limit: float
    minutes: float
    severity: str


METRICS = (
    Metric("cpu", "cpu", "CPU", "%", limit=85, minutes=0, severity="warning"),
    Metric("memory", "mem", "Memory", "%", limit=90, minutes=30, severity="warning"),
    Metric("disk", "disk", "Disk", "%", limit=95, minutes=120, severity="critical"),
)


def default_limit(name: str, limit: float, minutes: float, severity: str) -> Limit:
    """Return a limit as the environment sets it: LIMIT_CPU, LIMIT_CPU_MINUTES."""
    given = settings.LIMITS
    value = given.get(f"LIMIT_{name.upper()}", limit)
    window = given.get(f"LIMIT_{name.upper()}_MINUTES", minutes)
    return Limit(value, timedelta(minutes=window), severity)
