"""How often backups are scheduled, and how old the newest one may therefore become."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.postgresql.backup.schedule import longest_interval, max_age_hours
from plainstack.postgresql.settings import NEVER, Backup
from tests import inventories

TEXT = """\
stack: shop
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  bak1: {address: 10.0.0.3, roles: [backup]}
database: {name: shop}
backup: {full: daily}
"""


@pytest.mark.parametrize(
    ("calendars", "hours"),
    [
        (("*-*-* 02:00",), 24),
        (("02:00",), 24),
        (("daily",), 24),
        (("hourly",), 1),
        (("weekly",), 168),
        (("monthly",), 31 * 24),
        (("yearly",), 366 * 24),
        (("Sun *-*-* 02:00:00 UTC", "Mon..Sat *-*-* 02:00"), 24),
        (("Sun 02:00", "Mon..Sat 22:00"), 44),
        (("sat,Sunday 04:30",), 144),
        (("Fri..Mon *-*-* 0/6:00",), 78),
        (("*-*-01,15 03:30",), 17 * 24),
        (("*:0/15",), 0.25),
        (("Mon", "Thu"), 96),
    ],
)
def test_the_longest_interval_of_a_schedule_is_found(calendars: tuple[str, ...], hours: float) -> None:
    assert longest_interval(*calendars) == timedelta(hours=hours)


@pytest.mark.parametrize("calendar", ["", "sometimes", "*-*~1", "*-02-30", "02:00 Europe/Berlin", "Sun..", "25:00"])
def test_what_is_not_understood_has_no_interval(calendar: str) -> None:
    assert longest_interval(calendar) is None


def test_the_age_limit_follows_the_schedule_unless_it_is_given() -> None:
    assert max_age_hours(Backup()) == 26
    assert max_age_hours(Backup(incremental=NEVER)) == 170
    assert max_age_hours(Backup(full="*:0/30", incremental=NEVER)) == 3
    assert max_age_hours(Backup(max_age_hours=50)) == 50


def test_an_age_limit_must_be_given_if_it_does_not_follow() -> None:
    text = TEXT.replace("full: daily", 'full: "*-*~1", incremental: never')
    with pytest.raises(InventoryError) as error:
        inventories.parse(text, "my.yaml", Path())
    assert str(error.value).splitlines()[-1].strip() == (
        "my.yaml:6: backup.max_age_hours: must be given, because Plainstack cannot tell how often '*-*~1' occurs"
    )
    inventories.parse(text.replace("never", "never, max_age_hours: 800"), "my.yaml", Path())


def test_the_key_of_earlier_versions_is_refused_with_those_that_replaced_it() -> None:
    with pytest.raises(InventoryError) as error:
        inventories.parse(TEXT.replace("full:", "schedule:"), "my.yaml", Path())
    assert str(error.value).splitlines()[-1].strip() == (
        "my.yaml:6: backup.schedule: was replaced: write full (when full backups are taken)"
        " and incremental (when those between them are)"
    )
