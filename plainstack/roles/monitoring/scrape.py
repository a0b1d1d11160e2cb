"""What Prometheus watches: jobs and their targets, from the inventory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.proxy import METRICS_PORT as BALANCER_PORT
from plainstack.roles.base import NODE_EXPORTER_PORT
from plainstack.roles.db import EXPORTER_PORT as POSTGRES_EXPORTER_PORT
from plainstack.services import site
from plainstack.services.edge import Balancer


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is asked for metrics, and the labels that its series carry."""

    address: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """Targets that are asked in the same way: directly, with the host's certificate, or through a blackbox module."""

    name: str
    targets: tuple[Target, ...]
    tls: bool = False
    probe: str = ""


def jobs(stack: Stack, host: Host) -> list[Job]:
    """What the monitoring host `host` watches; a job without targets is left out."""
    hosts = list(stack.hosts.values())
    balancers = stack.with_role("balancer")
    everything = [
        Job("prometheus", (Target(f"127.0.0.1:{ports.PROMETHEUS}", _labels(host)),)),
        Job("alertmanager", (Target(f"127.0.0.1:{ports.ALERTMANAGER}", _labels(host)),)),
        Job("blackbox", (Target(f"127.0.0.1:{ports.BLACKBOX}", _labels(host)),)),
        Job("node", _on_port(hosts, NODE_EXPORTER_PORT), tls=True),
        Job("postgres", _on_port(stack.with_role("db"), POSTGRES_EXPORTER_PORT), tls=True),
        Job(stack.settings(Balancer).engine, _on_port(balancers, BALANCER_PORT), tls=True),
        Job("probe-ping", tuple(Target(str(peer.address), _labels(peer)) for peer in hosts), probe="ping"),
        Job("probe-host", _on_port(hosts, NODE_EXPORTER_PORT), probe="host_tls"),
        Job("probe-site", tuple(_site(stack, host)), probe="site_https"),
        Job("probe-balancer", tuple(_healths(stack)), probe="site_https"),
        Job("probe-port", tuple(_balancer_ports(stack)), probe="site_tls"),
    ]
    return [job for job in everything if job.targets]


def sees_virtual_address(stack: Stack, host: Host) -> bool:
    """Whether `host` is in the public network, where the virtual address lives; it may have no way there otherwise."""
    return stack.settings(Balancer).virtual_address is not None and host.public is not None


def _labels(host: Host) -> dict[str, str]:
    return {"instance": host.name, "role": "+".join(host.roles) or "none"}


def _on_port(hosts: list[Host], port: int) -> tuple[Target, ...]:
    return tuple(Target(f"{host.address}:{port}", _labels(host)) for host in hosts)


def _site(stack: Stack, host: Host) -> Iterator[Target]:
    """Each service as users reach it, at the virtual address."""
    if not sees_virtual_address(stack, host):
        return
    address = str(stack.settings(Balancer).virtual_address)
    for service_name, service in stack.services.items():
        labels = {
            "instance": address,
            "role": "balancer",
            "service": service_name,
            "__param_hostname": site.name(stack),
        }
        yield Target(f"https://{address}{site.health_page(service)}", labels)


def _healths(stack: Stack) -> Iterator[Target]:
    """Each service through each balancer, called by the name that users give it."""
    for balancer in stack.with_role("balancer"):
        for service_name, service in stack.services.items():
            labels = {**_balancer_labels(stack, balancer), "service": service_name}
            yield Target(f"https://{balancer.address}{site.health_page(service)}", labels)


def _balancer_ports(stack: Stack) -> Iterator[Target]:
    for balancer in stack.with_role("balancer"):
        yield Target(f"{balancer.address}:443", _balancer_labels(stack, balancer))


def _balancer_labels(stack: Stack, balancer: Host) -> dict[str, str]:
    # The site's certificate names what users reach, not a balancer's private address.
    return {**_labels(balancer), "__param_hostname": site.name(stack)}
