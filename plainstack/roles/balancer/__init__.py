"""Load balancers: nginx or Angie terminates TLS in front of the app hosts; keepalived moves the virtual address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from plainstack.engine.network import Network
from plainstack.engine.observed import Observed
from plainstack.engine.render import template
from plainstack.engine.resources import Package, Resource, Sysctl
from plainstack.engine.role import (
    Answers,
    Column,
    DeclaredSecret,
    Finding,
    Leftover,
    Opening,
    Role,
    Settle,
    Spare,
    Status,
    one_by_one,
)
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import Page, Target
from plainstack.roles.balancer import acme, routes, vrrp
from plainstack.roles.balancer.proxy import proxy
from plainstack.roles.balancer.spare import another_balancer
from plainstack.roles.balancer.validation import contradictions
from plainstack.roles.balancer.watched import METRICS_PORT, rules, scrapes
from plainstack.secrets import pki
from plainstack.secrets.values import Vault
from plainstack.services import maintenance, site
from plainstack.services.edge import Balancer, GivenCertificate

_SYSCTLS = "/etc/sysctl.d/60-plainstack-balancer.conf"
_KERNEL = {
    "net.ipv4.tcp_retries2": "3",
    "net.ipv4.tcp_keepalive_time": "3",
    "net.ipv4.tcp_keepalive_intvl": "1",
    "net.ipv4.tcp_keepalive_probes": "4",
    # Every POST opens a connection. Without this setting, the limit would be 28,000 a minute to one host.
    "net.ipv4.tcp_tw_reuse": "1",
}


def desired(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of the role balancer."""
    # for ip, which shows whether this host holds the virtual address
    yield Package(name="iproute2")
    yield from _sysctls(host)
    yield from proxy(stack, host, vault, network)
    yield from vrrp.resources(stack, host)


def opens(stack: Stack, _host: Host) -> Iterator[Opening]:
    """Open HTTP, HTTPS and HTTP/3 to all, metrics to the hosts that scrape them, and VRRP between the balancers."""
    yield Opening("http", ports.HTTP, "tcp", "http: redirect to https", None)
    yield Opening("https", ports.HTTPS, "tcp", "https", None)
    if stack.settings(Balancer).http3:
        yield Opening("http3", ports.HTTPS, "udp", "http/3", None)
    yield Opening("metrics", METRICS_PORT, "tcp", "balancer metrics: {user}")
    yield from vrrp.openings(stack)


def probe_facts(stack: Stack, host: Host) -> str:
    """Return the script that prints the state of maintenance, certificate, and virtual addresses."""
    if "balancer" not in host.roles:
        return ""
    return f"{maintenance.FACTS}{acme.probe(stack)}{vrrp.probe(stack, host)}"


def _sysctls(host: Host) -> Iterator[Resource]:
    yield template("balancer", _SYSCTLS, host=host, settings=_KERNEL)
    for name, value in _KERNEL.items():
        yield Sysctl(name=name, value=value)


def certificates(stack: Stack, _host: Host) -> Mapping[str, tuple[str, ...]]:
    """Return the site's self-signed certificate, for every name and address of the site; none if one is provided.

    It is served until an ACME authority has issued one.
    """
    balancer = stack.settings(Balancer)
    if isinstance(balancer.tls, GivenCertificate):
        return {}
    balancers = stack.with_role("balancer")
    names = [*balancer.server_names, *(peer.name for peer in balancers)]
    addresses = [*balancer.virtual_addresses, *(one for peer in balancers for one in peer.public_addresses)]
    return {pki.SITE: tuple(dict.fromkeys([*names, *map(str, addresses)]))}


def problems(stack: Stack, now: datetime) -> Iterable[str]:
    """Return why a provided certificate cannot be deployed now; `contradictions` reports its other errors."""
    if not isinstance(stack.settings(Balancer).tls, GivenCertificate):
        return ()
    from plainstack.roles.balancer import given_certificate

    return given_certificate.not_now(stack, now)


def leaves(_stack: Stack, _host: Host) -> Iterator[Leftover]:
    """Yield what the ACME client and maintenance leave."""
    yield Leftover(acme.STATE, "the certificates of the ACME authority, and the account there")
    yield Leftover(maintenance.PAGES, "the pages of closed services", data=False)


def tunnels(stack: Stack) -> Iterator[Target]:
    """Yield the site as visitors see it, and the engine's status page."""
    balancers, settings = stack.with_role("balancer"), stack.settings(Balancer)
    # Without a virtual address, the address is the first balancer's, so the tunnel goes through that host.
    virtual = settings.virtual_addresses
    carriers = tuple(host.name for host in (balancers if virtual else balancers[:1]))
    address = str(virtual[0] if virtual else balancers[0].address)
    known_as = site.name(stack) if settings.server_names else ""
    front = (Page("/", "the site, as a visitor sees it"),)
    yield Target("site", "https", carriers, (address,), ports.HTTPS, front, 8443, known_as)
    yield Target("", "", (balancers[0].name,), (), ports.PROXY_STATUS)


def status(stack: Stack, facts: Answers, _now: float) -> Status:
    """Return which balancer holds the virtual address, and which services are in maintenance.

    It is a problem if only some balancers have closed a service, or if none or several of them hold the address. The
    latter is known only if all of them answered.
    """
    addresses = vrrp.status(stack, facts)
    survey = maintenance.Survey.of(facts)
    certificates = [
        (name, sentence) for name, seen in facts.items() if seen and (sentence := acme.unissued(stack, seen))
    ]
    return Status(addresses.cells, [*addresses.problems, *survey.problems(), *certificates], list(survey.notes()))


def findings(stack: Stack, host: Host, observed: Observed) -> Iterator[Finding]:
    """Report that browsers warn about the site, or soon will, or that the host cannot hold a virtual address."""
    if "balancer" not in host.roles:
        return
    yield from vrrp.findings(stack, host, observed.facts)
    if sentence := acme.unissued(stack, observed.facts):
        yield Finding(sentence, refused=False, always=True)


def secrets(stack: Stack) -> Iterator[DeclaredSecret]:
    """Yield the passwords of routes, and what an ACME authority and the DNS provider need."""
    yield from routes.declared(stack)
    yield from acme.declared(stack)


ROLE = Role(
    name="balancer",
    certificates=certificates,
    secrets=secrets,
    settings=Balancer,
    needs=("app",),
    contradictions=contradictions,
    desired=desired,
    opens=opens,
    uses=("app.http", "balancer.vrrp"),
    after=("firewall",),
    follows=("app",),
    turns=one_by_one,
    settle=Settle(2, "wait until the other balancers see the previous host again"),
    spare=Spare(30, "wait until another balancer answers requests", another_balancer, one_is_enough=True),
    facts=probe_facts,
    leaves=leaves,
    findings=findings,
    tunnels=tunnels,
    status=Column("virtual address", 2, status),
    scrapes=scrapes,
    rules=rules,
    problems=problems,
)
