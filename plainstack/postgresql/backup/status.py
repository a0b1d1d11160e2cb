"""Backups in `inv status` and before a deploy: the newest one, the schedule, and WAL that is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from plainstack.engine.observed import Observed
from plainstack.engine.sayings import Answers, Finding, Status
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import barman, clock
from plainstack.postgresql.backup.listing import moment
from plainstack.postgresql.backup.schedule import calendars, max_age_hours
from plainstack.postgresql.settings import Backup
from plainstack.wording import duration, size

# Room for some WAL segments of 16 MB: the one that is being received, and those that are being archived.
_LEAST_FREE = 64 * 2**20


def facts(stack: Stack, _host: Host) -> str:
    """Return shell code for the probe of the backup host: the newest usable backup, the schedule, and missing WAL.

    It prints backup_at.KIND, when the newest usable backup of each kind ended, in seconds since the epoch;
    unit.UNIT.PROPERTY of the timers and services that take backups; disk_free, the free bytes of the disk that holds
    the backups; and what `clock.FACTS` and `missing_facts` print.
    """
    units = " ".join(f"{barman.unit(kind)}.{suffix}" for kind in barman.KINDS for suffix in ("timer", "service"))
    # Reads Barman's catalogue directly: starting Barman would take a second. Ids are dates, so names sort by time.
    return f"""\
usable=$(grep -lsx status=DONE ${{ROOT:-}}{barman.folder(stack)}/meta/*-backup.info)
for kind in full incremental; do
    if [ $kind = full ]; then which=-L; else which=-l; fi
    info=$(echo "$usable" | xargs -r grep $which '^parent_backup_id=[0-9]' | tail -n 1)
    [ -z "$info" ] || echo "backup_at.$kind=$(date -d "$(sed -n 's/^end_time=//p' "$info")" +%s)"
done
TZ=UTC systemctl show --property=Id,NextElapseUSecRealtime,Result,ExecMainExitTimestamp {units} 2>/dev/null | awk '
    BEGIN {{ RS = ""; FS = "\\n" }}
    {{ for (i = 1; i <= NF; i++) if ($i ~ /^Id=/) id = substr($i, 4) }}
    {{ for (i = 1; i <= NF; i++) if ($i !~ /^Id=/) print "unit." id "." $i }}'
echo "disk_free=$(df --output=avail -B1 ${{ROOT:-}}{barman.HOME} 2>/dev/null | tail -n 1)"
{clock.FACTS}{missing_facts(stack)}"""


def missing_facts(stack: Stack) -> str:
    """Return shell code for the backup host; if WAL is missing, it prints wal_missing, since when, as an epoch time."""
    path = f"${{ROOT:-}}{barman.missing_file(stack)}"
    return f'[ ! -s "{path}" ] || echo "wal_missing=$(head -n 1 "{path}")"\n'


def missing(facts: Mapping[str, str]) -> str:
    """Return what the facts say about missing WAL, as a sentence; empty if none is missing."""
    if not (since := facts.get("wal_missing")):
        return ""
    return (
        f"WAL has been missing since {moment(datetime.fromtimestamp(float(since), UTC))} UTC: the primary removed it"
        " before Barman received it. No moment since then can be restored. Take a full backup: inv backup-now"
    )


def full(facts: Mapping[str, str]) -> str:
    """Return a sentence if the disk of the backup host is too full to receive WAL; else an empty text."""
    free = facts.get("disk_free", "").strip()
    if not free.isdigit() or int(free) >= _LEAST_FREE:
        return ""
    return (
        f"the disk of {barman.HOME} is full ({size(int(free))} are free), so WAL cannot be received. The primary keeps"
        " it up to database.max_slot_wal_keep_size. Make the disk larger, or keep backups for a shorter time"
        " (backup.retention): then WAL is received again without a gap"
    )


def findings(_stack: Stack, _host: Host, observed: Observed) -> Iterator[Finding]:
    """Report the sentences of `_always` in every plan and deploy, even if nothing is to be done."""
    for sentence in _always(observed.facts):
        yield Finding(sentence, refused=False, always=True)


def _always(facts: Mapping[str, str]) -> Iterator[str]:
    """Yield sentences about missing WAL, a full disk, and a clock that differs from the primary's."""
    found = (missing(facts), full(facts), clock.skewed(float(facts.get("clock_skew") or 0)))
    yield from (sentence for sentence in found if sentence)


def status(stack: Stack, facts: Answers, now: float) -> Status:
    """Return the age of the newest usable backup of each kind, when the next one is due, and what is wrong."""
    cells: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    limit = max_age_hours(stack.settings(Backup))
    for name, seen in facts.items():
        if seen is None:
            continue
        at = max(_newest(seen, kind) for kind in barman.KINDS)
        cells[name] = "; ".join(_cell(stack.settings(Backup), seen, now)) if at else "none"
        if not at:
            problems.append((name, "there is no usable backup. Take one: inv backup-now"))
        elif now - at > limit * 3600:
            problems.append((name, f"the last usable backup is {duration(now - at)} old. Take one: inv backup-now"))
        problems += [(name, sentence) for sentence in _failures(seen)]
        problems += [(name, sentence) for sentence in _always(seen)]
    return Status(cells, problems)


def _failures(seen: Mapping[str, str]) -> Iterator[str]:
    for kind in barman.KINDS:
        result = seen.get(f"unit.{barman.unit(kind)}.service.Result", "success")
        if result not in ("success", ""):
            ended = seen.get(f"unit.{barman.unit(kind)}.service.ExecMainExitTimestamp", "")
            yield f"the last {kind} backup failed{f', {ended}' if ended else ''}. See why: inv backup-now"


def _cell(settings: Backup, seen: Mapping[str, str], now: float) -> Iterator[str]:
    scheduled = dict(calendars(settings))
    for kind in barman.KINDS:
        at = _newest(seen, kind)
        if not at and kind not in scheduled:
            continue
        last = f"{kind} {duration(now - at)} ago" if at else f"no {kind} one"
        following = seen.get(f"unit.{barman.unit(kind)}.timer.NextElapseUSecRealtime", "")
        if kind in scheduled and following:
            due = datetime.strptime(following, "%a %Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC)
            last += f", next in {duration(due.timestamp() - now)}"
        yield last


def _newest(seen: Mapping[str, str], kind: str) -> float:
    return float(seen.get(f"backup_at.{kind}") or 0)
