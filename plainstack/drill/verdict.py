"""The verdict: a pure function of the history, the final read, and the final state of the stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from plainstack.drill.history import WRITES, Attempt, Kind

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
class Marks:
    """Times on the drill's clock (None: it did not happen). `reaction` is when the failover command started."""

    load_end: float
    fault: float
    reaction: float | None = None
    promoted: float | None = None
    recovered: float | None = None


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


@dataclass(frozen=True)
class FailedPost:
    """A POST without a confirmation, and whether it was stored (None: there was no final read)."""

    key: int
    due: float
    outcome: str
    stored: bool | None


@dataclass(frozen=True)
class Verdict:
    """Whether the drill passed, and all numbers that this depends on."""

    passed: bool
    rules: tuple[Rule, ...]
    writes: Mapping[Kind, Writes]
    gaps: Mapping[Kind, Gap]
    gaps_from_reaction: Mapping[Kind, Gap]
    failed: Mapping[Kind, Mapping[str, int]]
    failed_posts: tuple[FailedPost, ...]
    seconds: Mapping[str, float | None]
    stray_acknowledged: int = 0
    stray_attempted: int = 0
    requests: Mapping[Kind, int] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        bad = [rule for rule in self.rules if not rule.held]
        if not bad:
            return "pass: every condition held"
        first = f"{bad[0].name}: {(bad[0].seen.splitlines() or [''])[0][:200]}"
        return f"fail: {first}" + (f", and {len(bad) - 1} more" if len(bad) > 1 else "")


def judge(
    attempts: Collection[Attempt], stored: Stored | None, marks: Marks, ending: Ending, budgets: Budgets
) -> Verdict:
    """Return the verdict: compare the responses to clients with the stored writes, and the outages with the budgets."""
    kinds: list[Kind] = [kind for kind in ("get", "post", "sql") if any(a.kind == kind for a in attempts)]
    writes = {kind: set_test([a for a in attempts if a.kind == kind], (stored or {}).get(kind, {})) for kind in WRITES}
    acks = {kind: [a.end for a in attempts if a.kind == kind and a.ok and a.end is not None] for kind in kinds}
    gaps = {kind: longest_gap(acks[kind], marks.fault, marks.load_end) for kind in kinds}
    since = marks.fault if marks.reaction is None else marks.reaction
    from_reaction = {kind: longest_gap(acks[kind], since, marks.load_end) for kind in kinds}
    failed = {kind: Counter(_why(a) for a in attempts if a.kind == kind and not a.ok) for kind in kinds}
    strays = [a for a in attempts if a.kind == "stray"]
    stray_acks = sum(a.ok for a in strays)
    bad = [a for a in attempts if a.kind in kinds and not a.ok]
    early = [a for a in bad if a.due < marks.fault - 1]
    rules = [
        *(Rule("the drill itself", "runs to its end", text, False) for text in ending.trouble),
        *_set_rules(writes, stored, budgets),
        *_gap_rules("writes", [from_reaction[k] for k in WRITES if k in kinds], budgets.write_gap, marks),
        *_gap_rules("reads", [from_reaction["get"]] if "get" in kinds else [], budgets.read_gap, marks),
        _gets_rule([a for a in bad if a.kind == "get" and a.due >= marks.fault], budgets.failed_gets),
        Rule("failed requests before the fault", "none", _counted(early), not early),
        *(
            [Rule("old primary", "accepts no write", f"took {stray_acks} of {len(strays)}", not stray_acks)]
            * bool(strays)
        ),
        _state_rule("topology", "whole", ending.topology),
        _state_rule("checks", "green", ending.checks),
    ]
    return Verdict(
        passed=all(rule.held is True for rule in rules),
        rules=tuple(rules),
        writes={kind: writes[kind] for kind in WRITES if kind in kinds},
        gaps=gaps,
        gaps_from_reaction=from_reaction,
        failed=failed,
        failed_posts=_failed_posts(attempts, stored),
        seconds=_seconds(marks),
        stray_acknowledged=stray_acks,
        stray_attempted=len(strays),
        requests={kind: sum(a.kind == kind for a in attempts) for kind in kinds},
    )


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


def _why(attempt: Attempt) -> str:
    return attempt.outcome or "no answer"


def _set_rules(writes: Mapping[Kind, Writes], stored: Stored | None, budgets: Budgets) -> Iterable[Rule]:
    if stored is None:
        yield Rule("final read", "done", "what is stored could not be read", None)
        return
    lost = sum(len(each.lost) for each in writes.values())
    acknowledged = sum(each.acknowledged for each in writes.values())
    allowed = budgets.lost
    wanted = "any number" if allowed is None else f"at most {allowed}"
    yield Rule("acknowledged writes lost", wanted, f"{lost} of {acknowledged}", allowed is None or lost <= allowed)
    twice = sum(len(each.duplicates) for each in writes.values())
    yield Rule("writes stored twice", "none", str(twice), twice == 0)
    strange = sum(len(each.never_attempted) for each in writes.values())
    yield Rule("stored writes that no client sent", "none", str(strange), strange == 0)


def _gap_rules(name: str, gaps: Sequence[Gap], limit: float | None, marks: Marks) -> Iterable[Rule]:
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


def _gets_rule(failed: Sequence[Attempt], limit: int | None) -> Rule:
    unsent = sum(a.sent is None for a in failed)
    count = len(failed) - unsent
    wanted = "any number" if limit is None else f"at most {limit}"
    seen = _counted(a for a in failed if a.sent is not None)
    seen += f"; {unsent} not sent, because the site was too slow for this --rate" * bool(unsent)
    held: bool | None = limit is None or count <= limit
    return Rule("failed GETs", wanted, seen, None if held and unsent and limit is not None else held)


def _counted(failed: Iterable[Attempt]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(Counter(map(_why, failed)).items())) or "none"


def _state_rule(name: str, wanted: str, problems: Sequence[str] | None) -> Rule:
    if problems is None:
        return Rule(name, wanted, "could not be checked", None)
    return Rule(name, wanted, "; ".join(problems) or wanted, not problems)


def _failed_posts(attempts: Iterable[Attempt], stored: Stored | None) -> tuple[FailedPost, ...]:
    posts = [a for a in attempts if a.kind == "post" and not a.ok]
    there = None if stored is None else stored.get("post", {})
    return tuple(FailedPost(a.key, a.due, _why(a), None if there is None else a.key in there) for a in posts)


def _seconds(marks: Marks) -> dict[str, float | None]:
    def span(begin: float | None, end: float | None) -> float | None:
        return None if begin is None or end is None else end - begin

    return {
        "detect": span(marks.fault, marks.reaction),
        "promote": span(marks.reaction, marks.promoted),
        "recover": span(marks.promoted if marks.promoted is not None else marks.fault, marks.recovered),
    }
