"""Prometheus jobs that watch a role's hosts, with their targets and labels."""

from __future__ import annotations

from collections.abc import Iterable

from plainstack.addresses import endpoint
from plainstack.dataclass import dataclass
from plainstack.inventory.sections import Host


@dataclass(frozen=True, slots=True)
class Target:
    """A scrape target, and the labels of its series.

    A label named __param_NAME sets a parameter of the request instead of a label of the series.
    """

    address: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """Targets that are scraped in the same way.

    They are scraped directly, over TLS if `tls` is set. If `probe` is set, they are scraped through the module of the
    blackbox exporter with that name.
    """

    name: str
    targets: tuple[Target, ...]
    tls: bool = False
    probe: str = ""


def labels(host: Host) -> dict[str, str]:
    """Return the labels of all series about a host."""
    return {"instance": host.name, "role": "+".join(host.roles) or "none"}


def on_port(hosts: Iterable[Host], port: int) -> tuple[Target, ...]:
    """Return the targets for the same port on several hosts."""
    return tuple(Target(endpoint(host.address, port), labels(host)) for host in hosts)
