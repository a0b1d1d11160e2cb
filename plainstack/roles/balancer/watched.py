"""Monitoring of the site, at the virtual address and through each balancer, and its alerts."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.addresses import Address, bracketed, endpoint
from plainstack.engine.resources import File
from plainstack.engine.watching import Job, Target, labels, on_port
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer import cache
from plainstack.roles.shared.alerts import alerts, names
from plainstack.services import site, virtual
from plainstack.services.edge import Balancer
from plainstack.services.processes import Served, served, site_module

METRICS_PORT = ports.BALANCER_METRICS


def scrapes(stack: Stack, watcher: Host) -> Iterator[Job]:
    """Watch the engine's metrics, every service at the virtual address and through each balancer, and the TLS port."""
    yield Job(stack.settings(Balancer).engine, on_port(stack.with_role("balancer"), METRICS_PORT), tls=True)
    yield Job("probe-site", tuple(_site(stack, watcher)), probe="site_https")
    yield Job("probe-balancer", tuple(_healths(stack)), probe="site_https")
    yield Job("probe-port", tuple(_ports(stack)), probe="site_tls")
    yield Job("probe-certificate", tuple(_ports(stack)), probe="site_certificate")


def rules(stack: Stack, watcher: Host, interval: int) -> Iterator[File]:
    """Yield the alerts for the site, the balancers, app hosts out of use, and the virtual address."""
    settings = stack.settings(Balancer)
    balancers = names(stack.with_role("balancer"))
    reached = _reached(stack, watcher)
    yield alerts(
        "balancer",
        "balancer",
        watcher,
        interval=interval,
        engine=settings.engine,
        virtual_addresses=settings.virtual_addresses,
        acme=settings.issuer,
        cached=cache.used(stack),
        balancers=balancers,
        apps=names(stack.with_role("app")),
        # Outside the public network, the probes of each balancer stand in for a probe of the virtual address.
        site_job="probe-site" if reached else "probe-balancer",
        reached=reached,
        where=f"https://{bracketed(reached[0])}" if reached else f"https on {balancers}",
    )


def _reached(stack: Stack, host: Host) -> list[Address]:
    """Return the virtual addresses of the IP versions of which `host` has a public address; it may not reach others."""
    own = {4: host.public, 6: host.public6}
    return [address for address in virtual.addresses(stack) if own[address.version] is not None]


def _site(stack: Stack, host: Host) -> Iterator[Target]:
    """Yield each service at each virtual address, as users reach it."""
    for address in _reached(stack, host):
        yield from _at(stack, address)


def _at(stack: Stack, address: Address) -> Iterator[Target]:
    for service in served(stack):
        own = {
            "instance": str(address),
            "role": "balancer",
            "service": service.name,
            "__param_hostname": site.known_as(stack, service),
            **_module(service),
        }
        yield Target(f"https://{bracketed(address)}{service.health_page}", own)


def _healths(stack: Stack) -> Iterator[Target]:
    """Yield each service through each balancer, with the site's name in the request."""
    for balancer in stack.with_role("balancer"):
        for service in served(stack):
            known_as = {"__param_hostname": site.known_as(stack, service)}
            own = {**_labels(stack, balancer), "service": service.name, **known_as, **_module(service)}
            yield Target(f"https://{bracketed(balancer.address)}{service.health_page}", own)


def _module(service: Served) -> dict[str, str]:
    """Return the label that selects the prober's module for a service with statuses of its own; empty without them."""
    return {"__param_module": site_module(service)} if service.health.status is not None else {}


def _ports(stack: Stack) -> Iterator[Target]:
    for balancer in stack.with_role("balancer"):
        yield Target(endpoint(balancer.address, ports.HTTPS), _labels(stack, balancer))


def _labels(stack: Stack, balancer: Host) -> dict[str, str]:
    # The site's certificate is issued for the site's name, not for a balancer's private address.
    return {**labels(balancer), "__param_hostname": site.name(stack)}
