"""Barman streams from the primary, whichever db host that is, and takes base backups on schedule."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Any

from plainstack.engine.network import Network
from plainstack.engine.observed import Observed
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Absent, Command, Directory, File, Package, Resource, Unit, Validation
from plainstack.engine.role import Column, Leftover, Opening, Role
from plainstack.engine.sayings import Answers, Finding, Status
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.postgresql import sql
from plainstack.postgresql.backup import (
    barman,
    folder_listing,
    folders,
    schedule,
    second_copy,
    second_copy_s3,
    second_copy_state,
)
from plainstack.postgresql.backup import status as state
from plainstack.postgresql.backup.schedule import calendars, max_age_hours, restore_test_hours
from plainstack.postgresql.restore import scratch
from plainstack.postgresql.restore.host import restoring, testing
from plainstack.postgresql.settings import Backup, Database
from plainstack.roles.shared.alerts import alerts, names
from plainstack.secrets.values import Vault
from plainstack.services.folders import kept
from plainstack.shell import journal
from plainstack.wording import Loc

_CONFIG = "/etc/barman.d/main.conf"
_PGPASS = f"{barman.HOME}/.pgpass"
_SYSTEM = "/etc/systemd/system"
_LIBRARY = "/usr/local/lib/plainstack"
_SERVICES = (barman.RECEIVER_UNIT, "plainstack-barman-cron.service", "plainstack-backup-metrics.service")
_TIMERS = ("plainstack-barman-cron.timer", "plainstack-backup-metrics.timer")
_SCRIPTS = ("take-backup", "mend-wal", "receiver-ended", "backup-catalogue", "backup-metrics")
# How many seconds a deploy waits for the first backup; a longer backup continues after the deploy gives up.
_PATIENCE = 900


def desired(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of the role backup: Barman with its services and timers, and a first base backup."""
    known: dict[str, Any] = {
        "stack": stack,
        "host": host,
        "server": barman.server(stack),
        "folder": barman.folder(stack),
        "conninfo": barman.conninfo(stack),
        "slot": sql.BARMAN_SLOT,
        # In a unit's command line, systemd would replace a single dollar sign.
        "receives": barman.RECEIVES.replace("$", "$$"),
    }
    yield Package(name="barman")
    yield Package(name=f"postgresql-client-{stack.settings(Database).version}")
    yield from restoring(stack, network)
    yield Package(name="logrotate")
    yield Package(name="procps")
    # A timer below replaces this cron job, so cron need not be installed.
    yield Absent(path="/etc/cron.d/barman")
    yield Directory(path=f"{barman.HOME}/staging", mode=0o700, owner="barman", group="barman")
    yield template("backup", _CONFIG, max_age_hours=max_age_hours(stack.settings(Backup)), **known)
    yield template("backup", _PGPASS, mode=0o600, owner="barman", group="barman", vault=vault, **known)
    for script in _SCRIPTS:
        yield verbatim("backup", f"{_LIBRARY}/{script}", mode=0o755)
    yield from _units(known)
    yield from _scheduled(stack, known)
    yield Validation(
        name="barman",
        run=f"runuser -u barman -- barman list-servers --minimal | grep -qx {barman.server(stack)}",
        reads=(_CONFIG,),
    )
    yield Unit(
        name=barman.RECEIVER_UNIT,
        restart_on=(_CONFIG, _PGPASS, f"{TLS}/ca.crt"),
        health=barman.RECEIVES,
        timeout=60,
    )
    for timer in (*_TIMERS, *(f"{barman.unit(kind)}.timer" for kind, _ in calendars(stack.settings(Backup)))):
        yield Unit(name=timer)
    yield from testing(stack)
    yield from second_copy.copying(stack, host, vault)
    yield from folders.keeping(stack, host)
    yield from folders.first_snapshots(stack)
    yield Command(
        name="first backup",
        why="take the first base backup",
        run=_FIRST_BACKUP,
        unless=barman.has_backup(stack),
        timeout=_PATIENCE + 60,
    )
    yield from second_copy.first_copy(stack)


def _units(known: dict[str, Any]) -> Iterator[Resource]:
    for service in _SERVICES:
        yield template("backup", f"{_SYSTEM}/{service}", metrics=barman.METRICS, **known)
    for service in (*_SERVICES, *(f"{barman.unit(kind)}.service" for kind in barman.KINDS)):
        yield template(
            "backup",
            f"{_SYSTEM}/{{service}}.d/10-hardening.conf",
            at={"service": service},
            **known,
        )
    for timer in _TIMERS:
        yield template("backup", f"{_SYSTEM}/{timer}", **known)


def _scheduled(stack: Stack, known: dict[str, Any]) -> Iterator[Resource]:
    # Both kinds can be taken on request, even if they are not scheduled.
    for kind in barman.KINDS:
        path = f"{_SYSTEM}/plainstack-backup-{{kind}}.service"
        yield template("backup", path, at={"kind": kind}, kind=kind, **known)
    for kind, calendar in calendars(stack.settings(Backup)):
        path = f"{_SYSTEM}/plainstack-backup-{{kind}}.timer"
        yield template("backup", path, at={"kind": kind}, kind=kind, calendar=calendar, **known)
        yield Validation(
            name=f"backup.{kind}",
            run=f"systemd-analyze calendar {quote(calendar)}",
            reads=(f"{_SYSTEM}/{barman.unit(kind)}.timer",),
        )


_FULL = f"{barman.unit('full')}.service"
_FIRST_BACKUP = f"""\
code=0
timeout {_PATIENCE} systemctl start {_FULL} || code=$?
[ $code != 0 ] || exit 0
if [ $code = 124 ]; then
    echo 'the first backup takes longer than {_PATIENCE // 60} minutes; it continues: deploy again when it is done'
else
    {journal(_FULL, "--invocation=0", "--lines=12")}
fi
exit 1
"""


def opens(_stack: Stack, _host: Host) -> Iterator[Opening]:
    """Open the port of a restored cluster, which the db hosts copy."""
    yield Opening("restored", scratch.PORT, "tcp", "restored cluster: {user}")


def leaves(_stack: Stack, _host: Host) -> Iterator[Leftover]:
    """Yield the folder of the backups."""
    yield Leftover(barman.HOME, "the backups", packages=("barman*",))


def rules(stack: Stack, watcher: Host, _interval: int) -> Iterator[File]:
    """Yield the alerts about backups, the WAL that belongs to them, their disk, and restore tests."""
    settings = stack.settings(Backup)
    yield alerts(
        "backup",
        "backup",
        watcher,
        hosts=names(stack.with_role("backup")),
        max_age=max_age_hours(settings),
        restore_test_hours=restore_test_hours(settings.restore_test),
    )
    if copy := settings.second_copy:
        yield alerts(
            "backup",
            "second-copy",
            watcher,
            hosts=names(stack.with_role("backup")),
            to=copy.to,
            max_age=copy.max_age_hours,
            files=bool(kept(stack)),
            restore_test_hours=restore_test_hours(copy.restore_test),
        )
    if kept(stack):
        yield alerts(
            "backup",
            "files",
            watcher,
            hosts=names(stack.with_role("backup")),
            max_age=max_age_hours(settings),
            test_hours=restore_test_hours(settings.restore_test),
        )


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield the contradictions in the schedule and in the destination of the second copy."""
    yield from schedule.contradictions(stack)
    yield from second_copy.contradictions(stack)


def facts(stack: Stack, host: Host) -> str:
    """Return shell code for the probe: about the backups, their second copy, and the files of services."""
    return state.facts(stack, host) + second_copy_state.facts(stack) + folders.facts(stack)


def findings(stack: Stack, host: Host, observed: Observed) -> Iterator[Finding]:
    """Report missing WAL and a failing second copy in plans and deploys."""
    yield from state.findings(stack, host, observed)
    yield from second_copy_state.findings(stack, observed)


def status(stack: Stack, answers: Answers, now: float) -> Status:
    """Return the backups, the second copy, and the files of services in `inv status`."""
    copied = second_copy_state.with_copy(stack, state.status(stack, answers, now), answers, now)
    return folder_listing.with_files(stack, copied, answers, now)


ROLE = Role(
    name="backup",
    settings=Backup,
    needs=("db",),
    single=True,
    secrets=second_copy_s3.declared,
    reads=tuple(sql.password_name(name) for name in ("barman", "streaming_barman")),
    desired=desired,
    opens=opens,
    after=("db",),
    uses=("db.backup", "app.files", "worker.files"),
    contradictions=contradictions,
    facts=facts,
    findings=findings,
    status=Column("last backup", 3, status),
    rules=rules,
    leaves=leaves,
)
