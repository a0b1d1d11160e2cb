"""Barman: there is a recent, usable backup, and WAL is streamed to the backup host."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql import sql
from plainstack.postgresql.backup import barman, catalogue, listing, second_copy
from plainstack.postgresql.backup.barman import METRICS
from plainstack.postgresql.backup.recoverable import open_gaps
from plainstack.postgresql.backup.schedule import calendars, max_age_hours
from plainstack.postgresql.restore.host import COPY_TIMER, TIMER
from plainstack.postgresql.settings import NEVER, Backup

ROLE = "backup"

_AS_BARMAN = "timeout 60 runuser -u barman --"
# A timer writes the metrics every five minutes.
_OLD_METRICS = 15 * 60


def _receives(host: Any, stack: Stack) -> Any:
    """Wait until the primary streams its WAL to Barman, and return how the wait ended."""
    query = (
        "select 1 from pg_replication_slots join pg_stat_replication on pid = active_pid"
        f" where slot_name = '{sql.BARMAN_SLOT}' and state = 'streaming'"
    )
    # After a failover, the receiver needs a second or two to find the new primary.
    return host.run(
        'timeout 60 runuser -u barman -- sh -c \'until psql -XAtqw -c "$2" "$1" | grep -q 1; do sleep 0.5; done\''
        " sh %s %s",
        f"{barman.conninfo(stack)} user=barman",
        query,
    )


def test_every_check_of_barman_passes(host: Any, stack: Stack) -> None:
    # Until it does, some of them fail; another check reports a receiver that never starts.
    _receives(host, stack)
    checked = host.run(f"{_AS_BARMAN} barman -f json check %s", barman.server(stack))
    results = json.loads(checked.stdout)[barman.server(stack)]
    failed = [f"{name} ({result['hint']})" for name, result in results.items() if result["status"] != "OK"]
    assert not failed, f"`barman check` fails: {'; '.join(failed)}"


def test_the_newest_backup_can_be_restored_and_is_not_too_old(host: Any, stack: Stack) -> None:
    backup = catalogue.parse(host.check_output(catalogue.script(stack))).newest
    assert backup, "there is no usable backup; take one: inv backup-now"
    assert backup.end, f"backup {backup.id} has no time of its end"
    hours, most = (time.time() - backup.end.timestamp()) / 3600, max_age_hours(stack.settings(Backup))
    assert hours < most, f"the newest backup, {backup.id}, is {hours:.0f} hours old; at most {most} are allowed"
    assert backup.size, f"backup {backup.id} has no size"


def test_no_wal_is_missing_since_the_newest_backup(host: Any, stack: Stack) -> None:
    held = catalogue.parse(host.check_output(catalogue.script(stack)))
    gaps = [listing.gap_sentence(gap) for gap in open_gaps(held)]
    assert not gaps, f"WAL is missing since the newest backup: {'; '.join(gaps)}"
    assert not host.file(barman.missing_file(stack)).exists, "Barman misses WAL; take a full backup: inv backup-now"


def test_the_primary_streams_its_wal_to_barman(host: Any, stack: Stack) -> None:
    streams = _receives(host, stack)
    assert streams.succeeded, f"Barman does not receive the WAL: {streams.stderr}"


def facts(stack: Stack, _here: Host) -> dict[str, str]:
    """Return the shell commands of these checks; one exec runs the commands of all roles of a host."""
    return {
        "failed": "systemctl list-units --failed --plain --no-legend 'plainstack-ba*' && echo listed",
        "timers": f"systemctl is-active plainstack-barman-cron.timer {' '.join(_timers(stack))}",
        "metrics": f"echo $(($(date +%s) - $(stat -c %Y {METRICS}))); cat {METRICS}",
    }


def _timers(stack: Stack) -> list[str]:
    settings = stack.settings(Backup)
    backups = [f"{barman.unit(kind)}.timer" for kind, _ in calendars(settings)]
    copy = settings.second_copy
    backups += [second_copy.TIMER] if copy else []
    tests = {TIMER: settings.restore_test, COPY_TIMER: copy.restore_test if copy else NEVER}
    return [*backups, *(timer for timer, calendar in tests.items() if calendar != NEVER)]


def test_no_backup_unit_has_failed_and_the_timers_run(facts: Mapping[str, str], stack: Stack) -> None:
    *failed, last = facts["failed"].splitlines() or [""]
    assert last == "listed", f"systemctl did not list the failed units: {facts['failed']}"
    assert not failed, f"failed units of the backups: {', '.join(line.split()[0] for line in failed)}"
    wanted, states = ["plainstack-barman-cron.timer", *_timers(stack)], facts["timers"].split()
    assert len(states) == len(wanted), f"systemctl reported the states of {len(states)} of {len(wanted)} timers"
    idle = [f"{timer} is {state}" for timer, state in zip(wanted, states, strict=True) if state != "active"]
    assert not idle, f"not every timer runs: {', '.join(idle)}"


def test_the_backups_are_reported_to_prometheus(facts: Mapping[str, str]) -> None:
    age, *lines = facts["metrics"].splitlines() or ["no"]
    assert age.isdigit(), f"there are no metrics in {METRICS}"
    assert int(age) < _OLD_METRICS, f"the metrics in {METRICS} are {age} s old; they should be renewed every 5 minutes"
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    names = {name.partition("{")[0] for name in values}
    missing = {
        "plainstack_backup_last_success_timestamp_seconds",
        "plainstack_backup_size_bytes",
        "plainstack_backup_wal_gaps",
        "plainstack_barman_streaming",
        "plainstack_barman_check_ok",
        "plainstack_barman_last_wal_timestamp_seconds",
    } - names
    assert not missing, f"metrics that are missing in {METRICS}: {', '.join(sorted(missing))}"
