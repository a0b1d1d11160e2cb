"""How often systemd calendar expressions occur, and how old the newest backup may therefore become."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import lru_cache
from itertools import pairwise
from math import ceil

from plainstack.dataclass import dataclass
from plainstack.inventory.stack import Stack
from plainstack.postgresql.settings import NEVER, Backup
from plainstack.wording import Loc

# How much later than scheduled a backup may end before it counts as too old.
_GRACE_HOURS = 2
# A restore test of a large database takes hours.
_RESTORE_GRACE_HOURS = 24
_LONG = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = tuple(name[:3] for name in _LONG)
_SHORT = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
}
_EXPRESSION = re.compile(
    r"(?:(?P<days>[a-z][a-z.,]*)(?: +|$))?(?:(?P<date>[0-9*.,/]+(?:-[0-9*.,/]+){1,2})(?: +|$))?"
    r"(?P<time>[0-9*.,/]+:[0-9*.,/]+(?::[0-9*.,/]+)?)?(?: +utc)?"
)
# Long enough to contain a leap day.
_FROM, _UNTIL = date(2024, 1, 1), date(2029, 1, 1)


def calendars(settings: Backup) -> tuple[tuple[str, str], ...]:
    """Return the scheduled kinds of backups, each with its calendar expression."""
    both = (("full", settings.full), ("incremental", settings.incremental))
    return tuple((kind, calendar) for kind, calendar in both if calendar != NEVER)


def expressions(settings: Backup) -> tuple[str, ...]:
    """Return the calendar expressions of the schedule."""
    return tuple(calendar for _, calendar in calendars(settings))


def max_age_hours(settings: Backup) -> int:
    """Return the age in hours above which the newest backup is too old: as given, or as the schedule implies."""
    if settings.max_age_hours is not None:
        return settings.max_age_hours
    longest = longest_interval(*expressions(settings))
    # `contradictions` refuses an inventory in which it is not known.
    return ceil(longest / timedelta(hours=1)) + _GRACE_HOURS if longest else 0


def restore_test_hours(calendar: str) -> int:
    """Return the age in hours above which the last restore test is too old; 0 if that is not known.

    `calendar` says when restore tests are made.
    """
    longest = None if calendar == NEVER else longest_interval(calendar)
    return ceil(longest / timedelta(hours=1)) + _RESTORE_GRACE_HOURS if longest else 0


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield an error if the age limit of backups neither is given nor follows from the schedule."""
    settings = stack.settings(Backup)
    if settings.max_age_hours is None and longest_interval(*expressions(settings)) is None:
        loc = ("backup", "max_age_hours")
        given = " and ".join(repr(one) for one in expressions(settings))
        yield loc, f"backup.max_age_hours: must be given, because Plainstack cannot tell how often {given} occurs"


@lru_cache(64)
def longest_interval(*calendar: str) -> timedelta | None:
    """Return the longest time between two moments at which any of these expressions occurs.

    It is None if they never occur, or if one uses more of systemd.time(7) than this function knows: days of the week,
    dates and times with lists, ranges and steps, and words such as daily; not `~` or other time zones.
    """
    try:
        parsed = [_parsed(text) for text in calendar]
    except ValueError:
        return None
    moments = _moments(parsed)
    longest = max((after - before for before, after in pairwise(moments)), default=0)
    return timedelta(minutes=longest) if longest else None


def _moments(parsed: Sequence[_Calendar]) -> Iterator[int]:
    """Yield the minutes since the beginning, in order, at which any of the expressions occurs."""
    for number in range((_UNTIL - _FROM).days):
        day = _FROM + timedelta(days=number)
        for minute in sorted({minute for one in parsed if one.on(day) for minute in one.minutes}):
            yield number * 24 * 60 + minute


@dataclass(frozen=True)
class _Calendar:
    """A parsed expression; `minutes` are those of a day at which it occurs. Seconds do not matter here."""

    weekdays: frozenset[int]
    years: frozenset[int]
    months: frozenset[int]
    days: frozenset[int]
    minutes: frozenset[int]

    def on(self, day: date) -> bool:
        """Return whether the expression occurs on a day."""
        return (
            day.weekday() in self.weekdays
            and day.day in self.days
            and day.month in self.months
            and day.year in self.years
        )


def _parsed(text: str) -> _Calendar:
    """Return a parsed expression. Raises ValueError if it is not one that this module knows."""
    words = _SHORT.get(text.strip().lower(), text.strip()).lower()
    match = _EXPRESSION.fullmatch(words)
    if not match or not words:
        raise ValueError
    *year, month, day = (match["date"] or "*-*").split("-")
    hour, minute, *_ = (match["time"] or "00:00").split(":")
    hours, minutes = _values(hour, 0, 23), _values(minute, 0, 59)
    return _Calendar(
        frozenset(_weekdays(match["days"])) if match["days"] else frozenset(range(7)),
        _values(year[0] if year else "*", _FROM.year, _UNTIL.year - 1),
        _values(month, 1, 12),
        _values(day, 1, 31),
        frozenset(one * 60 + other for one in hours for other in minutes),
    )


def _weekdays(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, dots, last = part.partition("..")
        begin, end = _weekday(first), _weekday(last if dots else first)
        yield from (number % 7 for number in range(begin, end + 1 if end >= begin else end + 8))


def _weekday(text: str) -> int:
    # Both `Mon` and `Monday` are valid.
    for names in (_DAYS, _LONG):
        if text in names:
            return names.index(text)
    raise ValueError(text)


def _values(text: str, lowest: int, highest: int) -> frozenset[int]:
    """Return the numbers of a component such as `*`, `1,15`, `8..18` or `0/6`. Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("..")
        begin = lowest if first == "*" else int(first)
        end = int(last) if last else highest if first == "*" or step else begin
        found.update(range(begin, end + 1, int(step or 1)))
    return frozenset(number for number in found if lowest <= number <= highest)
