"""The data of the chart, computed from the history: requests per second and latencies, in steps of equal length."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from plainstack.dataclass import dataclass
from plainstack.drill.history import Attempt


@dataclass(frozen=True)
class Step:
    """The requests that are due in one step of the time axis, which starts at `begin`.

    `reads` and `writes` are successes per second, `failed` is failures per second; latencies are in seconds.
    """

    begin: float
    reads: float
    writes: float
    failed: float
    p50: float | None
    p99: float | None


def width(seconds: float) -> float:
    """Return the length of a step in seconds, so that a load of `seconds` has about sixty steps."""
    return next((step for step in (0.25, 0.5, 1.0, 2.0, 5.0) if seconds / step <= 70), 10.0)


def steps(attempts: Collection[Attempt], seconds: float) -> list[Step]:
    """Return the figures of each step of the load, which lasts `seconds`."""
    size = width(seconds)
    buckets: list[list[Attempt]] = [[] for _ in range(max(1, round(seconds / size + 0.499)))]
    for attempt in attempts:
        if attempt.kind != "stray" and 0 <= attempt.due < len(buckets) * size:
            buckets[int(attempt.due / size)].append(attempt)
    return [_step(number * size, size, bucket) for number, bucket in enumerate(buckets)]


def _step(begin: float, size: float, bucket: Collection[Attempt]) -> Step:
    passed = [attempt for attempt in bucket if attempt.ok]
    latencies = sorted(attempt.latency for attempt in passed if attempt.latency is not None)
    return Step(
        begin=begin,
        reads=sum(attempt.kind == "get" for attempt in passed) / size,
        writes=sum(attempt.kind != "get" for attempt in passed) / size,
        failed=(len(bucket) - len(passed)) / size,
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the ordered values do not exceed (nearest rank)."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * round(share * 100) // 100) - 1))]
