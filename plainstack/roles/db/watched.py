"""Monitoring of PostgreSQL, and its alerts."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.resources import File
from plainstack.engine.watching import Job, on_port
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql import sql
from plainstack.postgresql.layout import UNIT
from plainstack.roles.shared.alerts import alerts, names, timed_out

EXPORTER_PORT = ports.POSTGRES_EXPORTER


def scrapes(stack: Stack, _watcher: Host) -> Iterator[Job]:
    """Watch the exporter of every db host."""
    yield Job("postgres", on_port(stack.with_role("db"), EXPORTER_PORT), tls=True)


def rules(stack: Stack, watcher: Host, interval: int) -> Iterator[File]:
    """Yield the alerts for servers that are down, a missing or second primary, replication lag and slots."""
    hosts = stack.with_role("db")
    yield alerts(
        "db",
        "db",
        watcher,
        interval=interval,
        timed_out=timed_out(interval),
        unit=UNIT,
        hosts=names(hosts),
        replicas=len(hosts) > 1,
        slots=any(sql.slots(stack, host.name) for host in hosts),
    )
