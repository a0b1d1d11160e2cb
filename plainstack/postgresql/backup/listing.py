"""What `inv backups` shows of a catalogue."""

from __future__ import annotations

from datetime import datetime

from plainstack.postgresql.backup.catalogue import DONE, WAITING, Backup, Catalogue
from plainstack.postgresql.backup.clock import skewed
from plainstack.postgresql.backup.recoverable import Gap, gaps, open_gaps, reach, windows
from plainstack.postgresql.backup.tested import RestoreTest
from plainstack.postgresql.topology import TABLESPACES
from plainstack.wording import duration, size

HEADER = ("id", "kind", "ended", "size", "WAL up to", "retention", "restore test")

_RETENTION = {
    "VALID": "needed",
    "OBSOLETE": "obsolete",
    "POTENTIALLY_OBSOLETE": "kept as the last one",
    "KEEP:FULL": "kept by hand",
    "KEEP:STANDALONE": "kept by hand",
}
_STATUS = {WAITING: "WAL is missing", "FAILED": "FAILED", "EMPTY": "not complete", "STARTED": "not complete"}


def rows(catalogue: Catalogue, now: datetime) -> list[tuple[str, ...]]:
    """Return the rows of a table, one for each backup, the oldest first."""
    return [_row(catalogue, backup, now) for backup in catalogue.backups]


def _row(catalogue: Catalogue, backup: Backup, now: datetime) -> tuple[str, ...]:
    usable = backup in catalogue.usable
    return (
        backup.id,
        backup.kind,
        moment(backup.end) if backup.end else "-",
        size(backup.size) if backup.size is not None else "-",
        moment(reach(catalogue, backup)) if usable else _unusable(catalogue, backup),
        _RETENTION.get(backup.retention, backup.retention.lower()) or "-",
        _tested(catalogue.restore_tests.get(backup.id), now),
    )


def _unusable(catalogue: Catalogue, backup: Backup) -> str:
    if backup.status != DONE:
        return _STATUS.get(backup.status, backup.status)
    missing = backup.parent not in catalogue.by_id
    return f"unusable: {backup.parent} is {'missing' if missing else 'unusable'}"


def _tested(test: RestoreTest | None, now: datetime) -> str:
    if test is None:
        return "never"
    where = f" on {test.host}" if test.host else ""
    return f"{'passed' if test.passed else 'FAILED'} {duration((now - test.at).total_seconds())} ago{where}"


def sentences(catalogue: Catalogue) -> list[str]:
    """Return the recoverable periods, where WAL is missing, and what tablespaces mean for a restore, as sentences."""
    periods = [f"{moment(begin)} to {moment(end)}" for begin, end in windows(catalogue)]
    lines = [f"recoverable, in UTC: {', and '.join(periods)}"] if periods else []
    lines += [TABLESPACES] if catalogue.newest and catalogue.newest.tablespaces else []
    return lines + [gap_sentence(gap) for gap in gaps(catalogue) if gap not in open_gaps(catalogue)]


def problems(catalogue: Catalogue) -> list[str]:
    """Return what must be repaired, as sentences that say how: no usable backup, WAL missing after the newest one."""
    if not catalogue.backups:
        return ["there is no backup yet. Take one: inv backup-now"]
    if catalogue.newest is None:
        return ["no backup can be used. Take one, or see why none succeeds: inv backup-now"]
    clock = skewed(catalogue.clock_skew)
    failed = [test for test in (catalogue.restore_tests.get(one.id) for one in catalogue.usable) if test]
    return [
        *([clock] if clock else []),
        *(f"{gap_sentence(gap)}. Take a backup: inv backup-now" for gap in open_gaps(catalogue)),
        *([f"the last restore test could not run: {catalogue.test_refused}"] if catalogue.test_refused else []),
        *(f"the restore test of backup {one.backup} failed: {_first(one)}" for one in failed if not one.passed),
    ]


def _first(test: RestoreTest) -> str:
    return test.problems[0] if test.problems else "it does not say why"


def gap_sentence(gap: Gap) -> str:
    """Return where WAL is missing, as a sentence without a full stop."""
    many = f"{gap.count} WAL segments are" if gap.count > 1 else "a WAL segment is"
    period = f"between {moment(gap.after)} and {moment(gap.before)} UTC"
    return f"{many} missing, from {gap.first} on: no moment {period} can be restored"


def moment(time: datetime) -> str:
    """Return a time in UTC as tables show it."""
    return time.strftime("%Y-%m-%d %H:%M:%S")


def as_data(catalogue: Catalogue) -> dict[str, object]:
    """Return a catalogue as the JSON object of `inv backups --json`; times are in ISO 8601, in UTC."""
    received = catalogue.received
    return {
        "server": catalogue.server,
        "backups": [_backup_data(catalogue, one) for one in catalogue.backups],
        "recoverable": [{"from": begin.isoformat(), "to": end.isoformat()} for begin, end in windows(catalogue)],
        "missing": [_gap_data(gap) for gap in gaps(catalogue)],
        "received": {"wal": received.name, "at": received.at.isoformat()} if received else None,
        "problems": problems(catalogue),
    }


def _backup_data(catalogue: Catalogue, backup: Backup) -> dict[str, object]:
    usable = backup in catalogue.usable
    test = catalogue.restore_tests.get(backup.id)
    return {
        **backup.as_data(),
        "usable": usable,
        "wal_up_to": reach(catalogue, backup).isoformat() if usable else None,
        "retention": backup.retention or None,
        "restore_test": {**test.__dict__, "at": test.at.isoformat()} if test else None,
    }


def _gap_data(gap: Gap) -> dict[str, object]:
    return {"first": gap.first, "segments": gap.count, "after": gap.after.isoformat(), "before": gap.before.isoformat()}
