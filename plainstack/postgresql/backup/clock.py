"""The clock of the backup host against that of the primary: how far apart they are, and what that means."""

from __future__ import annotations

from plainstack.postgresql.backup.barman import METRICS
from plainstack.wording import duration

# How many seconds the two may differ; NTP keeps them within milliseconds.
LIMIT = 5

FACTS = f"""\
sed -n 's/^plainstack_backup_clock_skew_seconds{{.*}} /clock_skew=/p' "${{ROOT:-}}{METRICS}" 2>/dev/null
"""
"""Shell code for the backup host that prints clock_skew: by how many seconds its clock was ahead of the primary's."""


def skewed(seconds: float) -> str:
    """Return what it means if the clock is ahead by so many seconds, as sentences; empty if the difference is small."""
    if abs(seconds) < LIMIT:
        return ""
    where = "ahead of" if seconds > 0 else "behind"
    return (
        f"the clock is {duration(round(abs(seconds)))} {where} the primary's. The ages of backups, the moments that can"
        " be restored, and the age of recovered rows are wrong by that much, because commits have the primary's time."
        " Check with timedatectl on both hosts which clock is right, and let both use NTP"
    )
