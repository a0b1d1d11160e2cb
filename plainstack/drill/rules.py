"""The conditions of a verdict, each a pure function of the figures and the budgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from plainstack.drill.history import Attempt, Kind
from plainstack.drill.measures import Budgets, Gap, Healing, Marks, Rule, Stored, Writes

CACHE_LOST = "acknowledged writes to the cache lost"


def why(attempt: Attempt) -> str:
    """Return how an attempt failed."""
    return attempt.outcome or "no answer"


def set_rules(writes: Mapping[Kind, Writes], stored: Stored | None, budgets: Budgets) -> Iterable[Rule]:
    """Yield the conditions on writes: as many lost as the budget allows, none twice, and none that no client sent."""
    if stored is None:
        yield Rule("final read", "done", "what is stored could not be read", None)
        return
    cached = [each for kind, each in writes.items() if kind == "cache" and each.attempted]
    # Where the cache is broken, the budget is the cache's, and the database must not lose anything.
    yield _lost_rule("acknowledged writes lost", _others(writes), 0 if cached else budgets.lost)
    if cached:
        yield _lost_rule(CACHE_LOST, cached, budgets.lost)
    twice = sum(len(each.duplicates) for each in writes.values())
    yield Rule("writes stored twice", "none", str(twice), twice == 0)
    strange = sum(len(each.never_attempted) for each in writes.values())
    yield Rule("stored writes that no client sent", "none", str(strange), strange == 0)


def _others(writes: Mapping[Kind, Writes]) -> list[Writes]:
    return [each for kind, each in writes.items() if kind != "cache"]


def _lost_rule(name: str, writes: Collection[Writes], allowed: int | None) -> Rule:
    lost = sum(len(each.lost) for each in writes)
    acknowledged = sum(each.acknowledged for each in writes)
    wanted = "any number" if allowed is None else f"at most {allowed}"
    return Rule(name, wanted, f"{lost} of {acknowledged}", allowed is None or lost <= allowed)


def gap_rules(name: str, gaps: Sequence[Gap], limit: float | None, marks: Marks) -> Iterable[Rule]:
    """Yield the condition on the longest of several gaps, if there are any."""
    if not gaps:
        return
    worst = max(gaps, key=lambda gap: gap.seconds)
    wanted = "any time" if limit is None else f"at most {limit:g} s"
    wanted += " from the fault" if marks.reaction is None else " from the reaction"
    seen = f"{worst.seconds:.2f} s"
    held: bool | None = limit is None or worst.seconds <= limit
    # A second is many times the interval between requests, so requests had stopped succeeding.
    if worst.open and worst.seconds > 1:
        seen = f"none succeeded in the last {worst.seconds:.1f} s of the load"
        held = None if held else False
    yield Rule(f"time without {name}", wanted, seen, held)


def gets_rule(name: str, failed: Collection[Attempt], limit: int | None) -> Rule:
    """Return the condition on the number of failed GETs."""
    unsent = sum(a.sent is None for a in failed)
    count = len(failed) - unsent
    wanted = "any number" if limit is None else f"at most {limit}"
    seen = counted(a for a in failed if a.sent is not None)
    seen += f"; {unsent} not sent, because the site was too slow for this --rate" * bool(unsent)
    held: bool | None = limit is None or count <= limit
    return Rule(name, wanted, seen, None if held and unsent and limit is not None else held)


def healing_rules(failed: Collection[Attempt], marks: Marks, healing: Healing, limit: int | None) -> Iterable[Rule]:
    """Yield the conditions on a watchdog: it heals the process in its time, and then no more than `limit` GETs fail."""
    over = healing.sick + healing.budget
    within = f"within {healing.budget:g} s from the fault"
    if healing.restarted is None or healing.healthy is None:
        seen = "it was not restarted"
    else:
        seen = f"restarted after {healing.restarted - healing.sick:.1f} s, healthy"
        seen += f" after {healing.healthy - healing.sick:.1f} s" + ", but not by the watchdog" * (
            not healing.by_watchdog
        )
    in_time = healing.healthy is not None and healing.healthy <= over
    yield Rule("restart by the watchdog", f"healthy {within}", seen, in_time and healing.by_watchdog)
    early = [a for a in failed if a.due < over]
    seen = counted(early)
    if early:
        seen += f"; the last {max(a.due for a in early) - healing.sick:.1f} s after the fault"
    yield Rule(f"failed GETs {within}", "any number", seen, True)
    after = gets_rule("failed GETs after that", [a for a in failed if a.due >= over], limit)
    if marks.load_end <= over:
        after = Rule(after.name, after.wanted, "the load had ended before", None)
    yield after


def counted(failed: Iterable[Attempt]) -> str:
    """Return how many attempts failed, by how they failed."""
    return ", ".join(f"{count} {why}" for why, count in sorted(Counter(map(why, failed)).items())) or "none"


def state_rule(name: str, wanted: str, problems: Sequence[str] | None) -> Rule:
    """Return the condition that there are no problems; None for those that could not be observed."""
    if problems is None:
        return Rule(name, wanted, "could not be checked", None)
    return Rule(name, wanted, "; ".join(problems) or wanted, not problems)
