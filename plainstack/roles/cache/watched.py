"""Monitoring of the cache, and its alerts."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.resources import File
from plainstack.engine.watching import Job, on_port
from plainstack.inventory import port_numbers
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.cache.settings import Cache
from plainstack.roles.shared.alerts import alerts, names

EXPORTER_PORT = port_numbers.CACHE_EXPORTER


def scrapes(stack: Stack, _watcher: Host) -> Iterator[Job]:
    """Watch the exporter of every cache host."""
    yield Job("cache", on_port(stack.with_role("cache"), EXPORTER_PORT), tls=True)


def rules(stack: Stack, watcher: Host, _interval: int) -> Iterator[File]:
    """Yield the alerts for hosts that are down, a missing primary or replica, full memory and failed writes to disk."""
    hosts = stack.with_role("cache")
    settings = stack.settings(Cache)
    yield alerts("cache", "cache", watcher, hosts=names(hosts), replicas=len(hosts) - 1, settings=settings)
