"""The figures of a drill: its budgets and moments, the set test of writes, and the longest gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from plainstack.dataclass import dataclass
from plainstack.drill.history import Attempt, Kind

Stored = Mapping[Kind, Mapping[int, int]]
"""The final read: how often each key is stored, for each kind of write."""


@dataclass(frozen=True)
class Budgets:
    """The limits of a drill; None means no limit."""

    lost: int | None = None
    write_gap: float | None = None
    read_gap: float | None = None
    failed_gets: int | None = None


@dataclass(frozen=True)
class Healing:
    """How a watchdog healed a process that was sick from `sick` on, and was to be healthy within `budget` seconds."""

    budget: float
    sick: float
    restarted: float | None = None
    healthy: float | None = None
    by_watchdog: bool = False


@dataclass(frozen=True)
class Marks:
    """Times on the drill's clock (None: it did not happen). `reaction` is when the failover command started."""

    load_end: float
    fault: float
    reaction: float | None = None
    promoted: float | None = None
    recovered: float | None = None
    healing: Healing | None = None


@dataclass(frozen=True)
class Ending:
    """The problems at the end, as messages; None for what could not be observed."""

    topology: Sequence[str] | None
    checks: Sequence[str] | None
    trouble: Sequence[str] = ()


@dataclass(frozen=True)
class Rule:
    """One condition of the verdict. `held` is None if that is unknown; then the drill does not pass."""

    name: str
    wanted: str
    seen: str
    held: bool | None


@dataclass(frozen=True)
class Gap:
    """The longest time without a success; `open` is true if the load ended before the next success."""

    seconds: float
    begin: float
    open: bool = False


@dataclass(frozen=True)
class Writes:
    """The result of the set test for one kind of write; keys are sorted."""

    attempted: int
    acknowledged: int
    lost: tuple[int, ...] = ()
    unacknowledged_stored: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()
    never_attempted: tuple[int, ...] = ()


def set_test(attempts: Iterable[Attempt], stored: Mapping[int, int]) -> Writes:
    """Run Jepsen's set test: an acknowledged write must be stored once, and a stored write must have been attempted."""
    attempts = list(attempts)
    sent = {a.key for a in attempts if a.sent is not None}
    acknowledged = {a.key for a in attempts if a.ok}
    there = {key for key, count in stored.items() if count > 0}
    return Writes(
        attempted=len(attempts),
        acknowledged=len(acknowledged),
        lost=tuple(sorted(acknowledged - there)),
        unacknowledged_stored=tuple(sorted((there & sent) - acknowledged)),
        duplicates=tuple(sorted(key for key, count in stored.items() if count > 1)),
        never_attempted=tuple(sorted(there - sent)),
    )


def longest_gap(successes: Iterable[float], since: float, until: float) -> Gap:
    """Return the longest time without a success between two moments, each of which counts as a success."""
    until = max(since, until)
    points = [since, *sorted(at for at in successes if since < at < until), until]
    gaps = [Gap(after - before, before) for before, after in pairwise(points)]
    longest = max(gaps, key=lambda gap: gap.seconds)
    return Gap(longest.seconds, longest.begin, longest is gaps[-1])
