"""The verdict of a drill lists the writes that were lost, and passes only a complete drill within its budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.drill import figures, history
from plainstack.drill.history import Attempt, Damaged, Kind, Recorder
from plainstack.drill.measures import Budgets, Ending, Marks, Stored, longest_gap, set_test
from plainstack.drill.verdict import judge

LOAD = 30.0
WHOLE = Ending(topology=[], checks=[])
MARKS = Marks(load_end=LOAD, fault=5, reaction=6, promoted=7, recovered=15)


@st.composite
def attempts(draw: st.DrawFn) -> list[Attempt]:
    """Draw a history: each kind of request has its own keys; some attempts were never sent, some never answered."""
    found = []
    for kind in ("get", "post", "sql"):
        for key in range(draw(st.integers(0, 12))):
            due = draw(st.floats(0, LOAD))
            fate = draw(st.sampled_from(["ok", "HTTP 502", "timed out", "unsent", "unanswered"]))
            if fate == "unsent":
                found.append(Attempt(kind, key, due, outcome="not sent"))
            elif fate == "unanswered":
                found.append(Attempt(kind, key, due, due))
            else:
                found.append(Attempt(kind, key, due, due, due + draw(st.floats(0, 10)), fate))
    return found


stores = st.fixed_dictionaries(
    {kind: st.dictionaries(st.integers(0, 15), st.integers(0, 3), max_size=16) for kind in ("post", "sql")}
)


@given(attempts(), stores)
def test_the_set_test_classifies_every_key_exactly_once(tried: list[Attempt], stored: Any) -> None:
    for kind in ("post", "sql"):
        mine = [a for a in tried if a.kind == kind]
        writes = set_test(mine, stored[kind])
        there = {key for key, count in stored[kind].items() if count}
        acknowledged = {a.key for a in mine if a.ok}
        assert set(writes.lost) == acknowledged - there
        assert set(writes.lost).isdisjoint(there)
        assert set(writes.unacknowledged_stored).isdisjoint(acknowledged)
        known = acknowledged - set(writes.lost)
        assert known | set(writes.unacknowledged_stored) | set(writes.never_attempted) == there
        assert set(writes.duplicates) == {key for key, count in stored[kind].items() if count > 1}


@given(attempts())
def test_a_store_with_exactly_the_acknowledged_rows_has_lost_nothing(tried: list[Attempt]) -> None:
    stored: Stored = {kind: {a.key: 1 for a in tried if a.kind == kind and a.ok} for kind in history.WRITES}
    verdict = judge(tried, stored, MARKS, WHOLE, Budgets(lost=0))
    for writes in verdict.writes.values():
        assert (writes.lost, writes.duplicates, writes.never_attempted, writes.unacknowledged_stored) == ((),) * 4


@given(attempts(), stores, st.integers(0, 1000))
def test_one_missing_acknowledged_row_is_detected(tried: list[Attempt], stored: Any, pick: int) -> None:
    kept = [a for a in tried if a.kind == "sql" and a.ok]
    if not kept:
        return
    gone = kept[pick % len(kept)].key
    left: Stored = {"sql": {a.key: 1 for a in kept if a.key != gone}, "post": stored["post"]}
    verdict = judge(tried, left, MARKS, WHOLE, Budgets(lost=0))
    assert gone in verdict.writes["sql"].lost
    assert not verdict.passed


@given(attempts(), stores, st.sampled_from(["store", "topology", "checks", "trouble"]))
def test_an_unreadable_result_is_never_a_pass(tried: list[Attempt], stored: Any, missing: str) -> None:
    ending = Ending(
        topology=None if missing == "topology" else [],
        checks=None if missing == "checks" else [],
        trouble=["the load generator site died"] if missing == "trouble" else [],
    )
    assert not judge(tried, None if missing == "store" else stored, MARKS, ending, Budgets()).passed


@given(attempts(), stores)
def test_all_failed_posts_are_listed_with_their_outcome(tried: list[Attempt], stored: Any) -> None:
    listed = judge(tried, stored, MARKS, WHOLE, Budgets()).failed_posts
    assert {post.key for post in listed} == {a.key for a in tried if a.kind == "post" and not a.ok}
    assert all(post.stored == (post.key in stored["post"]) for post in listed)


@given(st.lists(st.floats(0, 40)), st.floats(0, 30), st.floats(0, 10))
def test_the_longest_gap_lies_within_the_drill_and_contains_no_success(
    successes: list[float], since: float, more: float
) -> None:
    until = since + more
    gap = longest_gap(successes, since, until)
    assert since <= gap.begin <= gap.begin + gap.seconds <= until + 1e-9
    assert not [at for at in successes if gap.begin + 1e-9 < at < gap.begin + gap.seconds - 1e-9]
    inside = [at for at in successes if since < at < until]
    assert gap.seconds >= (until - since) / (len(inside) + 1) - 1e-9
    assert longest_gap([*successes, since + more / 2], since, until).seconds <= gap.seconds


def _steady(kind: Kind, first: float, last: float, *, rate: float = 10) -> list[Attempt]:
    count = int((last - first) * rate)
    return [
        Attempt(kind, int(first * rate) + n, first + n / rate, first + n / rate, first + n / rate + 0.01, "ok")
        for n in range(count)
    ]


def _stored(tried: Sequence[Attempt]) -> Stored:
    return {kind: {a.key: 1 for a in tried if a.kind == kind and a.ok} for kind in history.WRITES}


def test_a_drill_within_its_budgets_passes() -> None:
    tried = [*_steady("sql", 0, 5), *_steady("sql", 8, LOAD), *_steady("get", 0, LOAD)]
    verdict = judge(tried, _stored(tried), MARKS, WHOLE, Budgets(lost=0, write_gap=5, read_gap=1, failed_gets=0))
    assert verdict.passed, verdict.rules
    assert verdict.gaps["sql"].seconds == pytest.approx(3, abs=0.1)
    assert verdict.gaps_from_reaction["sql"].seconds == pytest.approx(2, abs=0.1)
    assert verdict.seconds == {"detect": 1, "promote": 1, "recover": 8}
    assert verdict.sentence == "pass: every condition held"


@pytest.mark.parametrize(
    ("budgets", "rule"),
    [
        (Budgets(write_gap=1), "time without writes"),
        (Budgets(read_gap=0.01), "time without reads"),
        (Budgets(failed_gets=0), "failed GETs"),
    ],
)
def test_each_exceeded_budget_fails_the_drill(budgets: Budgets, rule: str) -> None:
    failed = Attempt("get", 9999, 6.0, 6.0, 6.5, "HTTP 502")
    tried = [*_steady("sql", 0, 5), *_steady("sql", 8, LOAD), *_steady("get", 0, LOAD), failed]
    verdict = judge(tried, _stored(tried), MARKS, WHOLE, budgets)
    assert [one.name for one in verdict.rules if not one.held] == [rule]
    assert verdict.sentence.startswith(f"fail: {rule}")


def test_writes_that_never_recover_fail_the_drill_however_large_the_budget() -> None:
    tried = [*_steady("sql", 0, 5), *_steady("get", 0, LOAD)]
    verdict = judge(tried, _stored(tried), MARKS, WHOLE, Budgets(write_gap=600))
    assert not verdict.passed
    assert "none succeeded" in verdict.sentence


def test_a_write_accepted_by_an_old_primary_fails_the_drill() -> None:
    tried = [*_steady("sql", 0, LOAD), Attempt("stray", 0, 9, 9, 9.1, "ok"), Attempt("stray", 1, 9, 9, 9.1, "refused")]
    verdict = judge(tried, _stored(tried), MARKS, WHOLE, Budgets())
    assert [(one.name, one.seen) for one in verdict.rules if not one.held] == [("old primary", "took 1 of 2")]


def test_requests_that_fail_before_the_fault_invalidate_the_verdict() -> None:
    tried = [*_steady("sql", 0, LOAD), *_steady("get", 0, LOAD), Attempt("get", 9999, 1.0, 1.0, 1.5, "HTTP 502")]
    verdict = judge(tried, _stored(tried), MARKS, WHOLE, Budgets())
    assert verdict.sentence == "fail: failed requests before the fault: 1 HTTP 502"


def test_the_verdict_says_how_requests_failed() -> None:
    outcomes = ["HTTP 502", "connection reset", "HTTP 502"]
    failed = [Attempt("get", 9990 + n, 6.0, 6.0, 6.5, outcome) for n, outcome in enumerate(outcomes)]
    unsent = Attempt("get", 9999, 6.0, None, None, "not sent: every client was waiting")
    tried = [*_steady("sql", 0, LOAD), *_steady("get", 0, LOAD), *failed, unsent]
    verdict = judge(tried, _stored(tried), MARKS, WHOLE, Budgets(failed_gets=0))
    assert verdict.sentence == (
        "fail: failed GETs: 2 HTTP 502, 1 connection reset; 1 not sent, because the site was too slow for this --rate"
    )


def test_a_recorder_pairs_start_and_end_of_each_generator_on_one_clock() -> None:
    recorder = Recorder()
    recorder.feed('["begin", "sql", 3, 0.5, 0.51]', 0.0)
    recorder.feed('["begin", "get", 3, 0.5, 0.51]', 2.0)
    recorder.feed('["end", "sql", 3, 0.6, "ok"]', 0.0)
    recorder.feed('["skip", "get", 4, 0.7, "not sent"]', 2.0)
    sql, get, skipped = recorder.history()
    assert (sql.kind, sql.sent, sql.end, sql.ok) == ("sql", 0.51, 0.6, True)
    assert (get.due, get.end, get.outcome) == (2.5, None, None)
    assert (skipped.sent, skipped.outcome) == (None, "not sent")
    assert recorder.last_ok == {"sql": 0.6}


@pytest.mark.parametrize(
    "line", ["", "nonsense", '["begin"]', '["begin", "put", 1, 0, 0]', '["end", "sql", 99, 1, "ok"]']
)
def test_a_damaged_line_is_reported_as_damaged(line: str) -> None:
    with pytest.raises(Damaged):
        Recorder().feed(line, 0)


@given(attempts())
def test_a_saved_history_is_read_back_unchanged(tried: list[Attempt]) -> None:
    again = history.load(history.dump(tried))
    assert [(a.kind, a.key, a.outcome) for a in again] == [(a.kind, a.key, a.outcome) for a in tried]
    assert all(abs(a.due - b.due) < 0.001 for a, b in zip(again, tried, strict=True))


@given(attempts())
def test_the_chart_counts_every_request_once(tried: list[Attempt]) -> None:
    size = figures.width(LOAD)
    steps = figures.steps([a for a in tried if a.due < LOAD], LOAD)
    shown = sum((step.reads + step.writes + step.failed) * size for step in steps)
    assert round(shown) == len([a for a in tried if a.due < LOAD])


@given(st.lists(st.floats(0, 10), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_one_of_the_values_and_covers_its_share(values: list[float], share: float) -> None:
    ordered = sorted(values)
    value = figures.percentile(ordered, share)
    assert value in ordered
    assert sum(one <= value for one in ordered) >= share * len(ordered)
