"""What a role has watched on its hosts: jobs for Prometheus, each with targets and the labels of their series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plainstack.inventory.sections import Host


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is asked for metrics, and the labels that its series carry.

    A label __param_NAME is no label of the series but a parameter of the request.
    """

    address: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """Targets that are asked in the same way.

    Directly, over TLS with the host's certificate or without, or through a module of the blackbox exporter (`probe`).
    """

    name: str
    targets: tuple[Target, ...]
    tls: bool = False
    probe: str = ""


def labels(host: Host) -> dict[str, str]:
    """What series about a host are labelled with."""
    return {"instance": host.name, "role": "+".join(host.roles) or "none"}


def on_port(hosts: Iterable[Host], port: int) -> tuple[Target, ...]:
    """The same port of several hosts."""
    return tuple(Target(f"{host.address}:{port}", labels(host)) for host in hosts)
