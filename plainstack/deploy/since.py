"""Translate the value of `inv logs --since` for journalctl."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from plainstack.errors import Refused
from plainstack.wording import quoted

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_WORDS = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("week", "weeks"), "w"),
}
_SPAN = re.compile(r"-?((?:[0-9]+ *[a-z]+ *)+?)(?: ago)?")
_PART = re.compile(r"([0-9]+) *([a-z]+)")
_TIME = re.compile(
    r"(?:(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]|$))?"
    r"(?:(?P<time>[0-9]{2}:[0-9]{2})(?P<seconds>:[0-9]{2})?(?P<fraction>\.[0-9]{1,6})?)?"
    r" ?(?P<zone>Z|UTC|[+-][0-9]{2}:[0-9]{2})?"
)


def since(text: str, now: datetime) -> str:
    """Return the value for journalctl's --since: seconds before the host's current time, or seconds since the epoch.

    A time without a zone is in UTC, like the times of printed entries. Raises Refused if `text` is neither a time nor a
    time span, or if the time is in the future.
    """
    text = text.strip()
    if match := _SPAN.fullmatch(text):
        return f"-{_span(text, match[1])}s"
    moment = _moment(text, now)
    if moment > now:
        raise Refused(f"--since={text}: that time is still to come; it is {now:%Y-%m-%d %H:%M:%S} UTC")
    return f"@{moment.timestamp():.6f}"


def _span(text: str, parts: str) -> int:
    seconds = 0
    for number, word in _PART.findall(parts):
        unit = _WORDS.get(word, word)
        if unit not in _SECONDS:
            raise _refused(text)
        seconds += int(number) * _SECONDS[unit]
    # No journal is older than this, and journalctl accepts no dates before 1970.
    return min(seconds, 20 * 365 * 86400)


def _moment(text: str, now: datetime) -> datetime:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if text in named:
        return named[text]
    try:
        if re.fullmatch(r"@[0-9]{1,11}(\.[0-9]{1,6})?", text):
            return datetime.fromtimestamp(float(text[1:]), UTC)
        match = _TIME.fullmatch(text)
        if match is None or not (match["date"] or match["time"]):
            raise _refused(text)
        date = match["date"] or f"{now:%Y-%m-%d}"
        time = f"{match['time'] or '00:00'}{match['seconds'] or ':00'}"
        zone = {None: "+00:00", "Z": "+00:00", "UTC": "+00:00"}.get(match["zone"], match["zone"])
        fraction = (match["fraction"] or ".0").ljust(7, "0")
        return datetime.fromisoformat(f"{date}T{time}{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise _refused(text) from None


def _refused(text: str) -> Refused:
    return Refused(
        f"--since={quoted(text)[1:-1]}: not a time: write how long ago, such as 90s, 15m, 1h or 2d, or a time in UTC,"
        " such as 14:30, '2026-01-31 14:30', today or yesterday"
    )
