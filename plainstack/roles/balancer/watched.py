"""How the site is watched, as its users reach it and through each balancer, and what is an incident."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.resources import File
from plainstack.engine.watching import Job, Target, labels, on_port
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.shared.alerts import alerts, names
from plainstack.services import site
from plainstack.services.edge import Balancer

METRICS_PORT = ports.BALANCER_METRICS


def scrapes(stack: Stack, watcher: Host) -> Iterator[Job]:
    """The engine's metrics, every service at the virtual address and through each balancer, and their port."""
    yield Job(stack.settings(Balancer).engine, on_port(stack.with_role("balancer"), METRICS_PORT), tls=True)
    yield Job("probe-site", tuple(_site(stack, watcher)), probe="site_https")
    yield Job("probe-balancer", tuple(_healths(stack)), probe="site_https")
    yield Job("probe-port", tuple(_ports(stack)), probe="site_tls")


def rules(stack: Stack, watcher: Host, interval: int) -> Iterator[File]:
    """The site or a balancer is down, application hosts are out, certificates end."""
    settings = stack.settings(Balancer)
    balancers = names(stack.with_role("balancer"))
    direct = _sees_virtual_address(stack, watcher)
    yield alerts(
        "balancer",
        "balancer",
        watcher,
        interval=interval,
        engine=settings.engine,
        virtual_address=settings.virtual_address,
        balancers=balancers,
        apps=names(stack.with_role("app")),
        # From outside the public network, what users see is told by the balancers one by one.
        site_job="probe-site" if direct else "probe-balancer",
        where=f"https://{settings.virtual_address}" if direct else f"https on {balancers}",
    )


def _sees_virtual_address(stack: Stack, host: Host) -> bool:
    """Whether `host` is in the public network, where the virtual address lives; it may have no way there otherwise."""
    return stack.settings(Balancer).virtual_address is not None and host.public is not None


def _site(stack: Stack, host: Host) -> Iterator[Target]:
    """Each service as users reach it, at the virtual address."""
    if not _sees_virtual_address(stack, host):
        return
    address = str(stack.settings(Balancer).virtual_address)
    for service_name, service in stack.services.items():
        own = {
            "instance": address,
            "role": "balancer",
            "service": service_name,
            "__param_hostname": site.name(stack),
        }
        yield Target(f"https://{address}{site.health_page(service)}", own)


def _healths(stack: Stack) -> Iterator[Target]:
    """Each service through each balancer, called by the name that users give it."""
    for balancer in stack.with_role("balancer"):
        for service_name, service in stack.services.items():
            own = {**_labels(stack, balancer), "service": service_name}
            yield Target(f"https://{balancer.address}{site.health_page(service)}", own)


def _ports(stack: Stack) -> Iterator[Target]:
    for balancer in stack.with_role("balancer"):
        yield Target(f"{balancer.address}:443", _labels(stack, balancer))


def _labels(stack: Stack, balancer: Host) -> dict[str, str]:
    # The site's certificate names what users reach, not a balancer's private address.
    return {**labels(balancer), "__param_hostname": site.name(stack)}
