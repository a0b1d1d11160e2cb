"""The tick of a timer is the same on every host, even if their clocks differ by seconds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tick import NoTick, following, latest

pytestmark = pytest.mark.programs

CALENDARS = ("*:0/1", "*:*:0/10", "daily", "monthly", "Mon *-*-* 00..08:*:*", "*-02-29", "daily Europe/Berlin")
MOMENTS = st.integers(1_600_000_000, 2_000_000_000)


@settings(max_examples=20)
@given(st.sampled_from(CALENDARS), MOMENTS)
def test_the_tick_is_the_latest_time_of_the_calendar(calendar: str, now: int) -> None:
    tick = latest(calendar, now)
    assert tick <= now
    after = following(calendar, tick)
    assert after is not None
    assert after > now
    assert following(calendar, tick - 1) == tick


def test_clocks_that_differ_by_seconds_give_the_same_tick() -> None:
    due = int(datetime(2026, 1, 31, 14, 15, tzinfo=UTC).timestamp())
    assert {latest("*:0/15 UTC", due + late) for late in (0, 1, 30, 899)} == {due}
    assert latest("*:0/15 UTC", due - 1) == due - 900


@pytest.mark.parametrize("calendar", ["2040-01-01", "no calendar"])
def test_a_calendar_without_a_time_in_the_past_is_reported(calendar: str) -> None:
    with pytest.raises(NoTick, match=calendar):
        latest(calendar, 1_700_000_000)
