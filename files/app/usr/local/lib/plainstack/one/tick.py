"""The tick of a timer: the latest time at which its calendar says that the command runs."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import datetime

# Seconds. If a calendar has no time in so long a period, it has none in the past.
_LONGEST = 20 * 366 * 86400


class NoTick(Exception):
    """The calendar has no time in the past, or is invalid for systemd."""


def latest(calendar: str, now: int) -> int:
    """Return the latest time of a calendar that is not after `now`, in seconds since the epoch. Raises NoTick.

    The answer depends on the calendar and the host's time zone alone, so clocks that differ by seconds do not matter.
    """
    span = 60
    while not (found := following(calendar, now - span)) or found > now:
        if span > _LONGEST:
            raise NoTick(f"{calendar}: no time in the past")
        span *= 8
    # Bisect between `found` and `until`, because systemd prints only the next time after a given one.
    until = now
    while found < until:
        middle = (found + until) // 2
        later = following(calendar, middle)
        if later and later <= now:
            found = later
        else:
            until = middle
    return found


def following(calendar: str, after: int) -> int | None:
    """Return the next time of a calendar after a moment, or None. Raises NoTick."""
    words = ["systemd-analyze", "calendar", f"--base-time=@{after}", "--", calendar]
    environment = {**os.environ, "LC_ALL": "C"}
    ran = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if ran.returncode != 0:
        raise NoTick(f"{calendar}: {ran.stderr.strip()}")
    # If the host's time zone is not UTC, the next line has the time in UTC.
    times = re.findall(r"(?:Next elapse|\(in UTC\)): \w+ (\S+ \S+) UTC$", ran.stdout, re.MULTILINE)
    return int(datetime.fromisoformat(f"{times[-1]}+00:00").timestamp()) if times else None
