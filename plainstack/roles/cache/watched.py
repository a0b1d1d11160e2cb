"""Monitoring of the cache, and its alerts."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.resources import File
from plainstack.engine.watching import Job, on_port
from plainstack.inventory import port_numbers
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.cache.settings import Cache
from plainstack.roles.shared.alerts import alerts, names, timed_out

EXPORTER_PORT = port_numbers.CACHE_EXPORTER

_WHEN_FULL = {
    "volatile": "Keys with an expiry time are removed to make room; once there are none left, writes are refused",
    "allkeys": "Keys are removed to make room, so fewer requests are answered from the cache",
    "noeviction": "Writes are refused once it is full",
}


def scrapes(stack: Stack, _watcher: Host) -> Iterator[Job]:
    """Watch the exporter of every cache host."""
    yield Job("cache", on_port(stack.with_role("cache"), EXPORTER_PORT), tls=True)


def rules(stack: Stack, watcher: Host, interval: int) -> Iterator[File]:
    """Yield the alerts for hosts that are down, a missing primary or replica, full memory and failed writes to disk."""
    hosts = stack.with_role("cache")
    when_full = _WHEN_FULL[stack.settings(Cache).when_full.partition("-")[0]]
    yield alerts(
        "cache",
        "cache",
        watcher,
        hosts=names(hosts),
        replicas=len(hosts) - 1,
        timed_out=timed_out(interval),
        when_full=when_full,
    )
