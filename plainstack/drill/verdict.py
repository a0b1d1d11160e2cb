"""The verdict: a pure function of the history, the final read, and the final state of the stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.drill.history import WRITES, Attempt, Kind
from plainstack.drill.measures import Budgets, Ending, Gap, Marks, Rule, Stored, Writes, longest_gap, set_test
from plainstack.drill.rules import counted, gap_rules, gets_rule, healing_rules, set_rules, state_rule, why


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
    attempts: Collection[Attempt],
    stored: Stored | None,
    marks: Marks,
    ending: Ending,
    budgets: Budgets,
    more: Iterable[Rule] = (),
) -> Verdict:
    """Return the verdict: compare the responses to clients with the stored writes, and the outages with the budgets.

    `more` are conditions of the fault itself.
    """
    kinds: list[Kind] = [kind for kind in ("get", "post", "sql", "cache") if any(a.kind == kind for a in attempts)]
    writes = {kind: set_test([a for a in attempts if a.kind == kind], (stored or {}).get(kind, {})) for kind in WRITES}
    acks = {kind: [a.end for a in attempts if a.kind == kind and a.ok and a.end is not None] for kind in kinds}
    gaps = {kind: longest_gap(acks[kind], marks.fault, marks.load_end) for kind in kinds}
    since = marks.fault if marks.reaction is None else marks.reaction
    from_reaction = {kind: longest_gap(acks[kind], since, marks.load_end) for kind in kinds}
    failed = {kind: Counter(why(a) for a in attempts if a.kind == kind and not a.ok) for kind in kinds}
    strays = [a for a in attempts if a.kind == "stray"]
    stray_acks = sum(a.ok for a in strays)
    bad = [a for a in attempts if a.kind in kinds and not a.ok]
    early = [a for a in bad if a.due < marks.fault - 1]
    rules = [
        *(Rule("the drill itself", "runs to its end", text, False) for text in ending.trouble),
        *set_rules(writes, stored, budgets),
        *gap_rules("writes", [from_reaction[k] for k in WRITES if k in kinds], budgets.write_gap, marks),
        *gap_rules("reads", [from_reaction["get"]] if "get" in kinds else [], budgets.read_gap, marks),
        *_gets_rules([a for a in bad if a.kind == "get" and a.due >= marks.fault], marks, budgets.failed_gets),
        *more,
        Rule("failed requests before the fault", "none", counted(early), not early),
        *(
            [Rule("old primary", "accepts no write", f"took {stray_acks} of {len(strays)}", not stray_acks)]
            * bool(strays)
        ),
        state_rule("topology", "whole", ending.topology),
        state_rule("checks", "green", ending.checks),
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


def _gets_rules(failed: Collection[Attempt], marks: Marks, limit: int | None) -> Iterable[Rule]:
    if marks.healing is None:
        yield gets_rule("failed GETs", failed, limit)
        return
    yield from healing_rules(failed, marks, marks.healing, limit)


def _failed_posts(attempts: Iterable[Attempt], stored: Stored | None) -> tuple[FailedPost, ...]:
    posts = [a for a in attempts if a.kind == "post" and not a.ok]
    there = None if stored is None else stored.get("post", {})
    return tuple(FailedPost(a.key, a.due, why(a), None if there is None else a.key in there) for a in posts)


def _seconds(marks: Marks) -> dict[str, float | None]:
    def span(begin: float | None, end: float | None) -> float | None:
        return None if begin is None or end is None else end - begin

    healed = {} if marks.healing is None else {"restart": span(marks.healing.sick, marks.healing.restarted)}
    return {
        **healed,
        "detect": span(marks.fault, marks.reaction),
        "promote": span(marks.reaction, marks.promoted),
        "recover": span(marks.promoted if marks.promoted is not None else marks.fault, marks.recovered),
    }
