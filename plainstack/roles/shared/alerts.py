"""The alert rules of a role, as a file on the monitoring hosts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from plainstack.engine.render import template
from plainstack.engine.resources import File
from plainstack.inventory.sections import Host

RULES = "/etc/prometheus/rules"


def alerts(role: str, name: str, host: Host, **values: Any) -> File:
    """Return the rules in templates/<role>/etc/prometheus/rules/<name>.yml.j2, rendered for the monitoring host `host`.

    The template uses square brackets for Jinja, because Prometheus uses the braces.
    """
    return template(role, f"{RULES}/{name}.yml", square=True, host=host, **values)


def names(hosts: Iterable[Host]) -> str:
    """Return the names of hosts, separated by commas."""
    return ", ".join(host.name for host in hosts)


def scrape_timeout(interval: int) -> int:
    """Return for how many seconds Prometheus waits for an exporter that it reads every `interval` seconds."""
    return min(10, interval)


def timed_out(interval: int) -> float:
    """Return the number of seconds from which a failed scrape counts as one that was not answered in time."""
    return round(0.9 * scrape_timeout(interval), 1)
