"""Prometheus, Alertmanager and the blackbox exporter, with the scrape targets and alerts of all roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, File, Listen, Package, Preseed, Resource, Unit, Validation
from plainstack.engine.role import Leftover, Role, hosts_of
from plainstack.engine.watching import Job, Target, labels
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import LOOPBACK, Page
from plainstack.inventory.target import Target as Tunnelled
from plainstack.paths import TLS
from plainstack.roles.monitoring.settings import Monitoring
from plainstack.roles.shared.alerts import RULES, scrape_timeout
from plainstack.secrets import pki
from plainstack.secrets.values import Secret, Vault
from plainstack.services.edge import Balancer, GivenCertificate
from plainstack.services.processes import served, site_module

_ETC = "/etc/prometheus"
_PROMETHEUS = f"{_ETC}/prometheus.yml"
_ALERTMANAGER = f"{_ETC}/alertmanager.yml"
_BLACKBOX = f"{_ETC}/blackbox.yml"
_SITE_CA = f"{_ETC}/site-ca.crt"
# of Debian's package ca-certificates
_PUBLIC_CAS = "/etc/ssl/certs/ca-certificates.crt"
_RELOAD = "/usr/local/lib/plainstack/prometheus-reload"


def desired(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of the role monitoring."""
    yield from _packages()
    if (stack.settings(Monitoring).webhook or "").startswith("https:"):
        yield Package(name="ca-certificates")
    yield from _configuration(host, vault, network)
    yield from alerting(host, network)
    yield from _validations()
    yield from _daemons(stack, host)


def jobs(watcher: Host, network: Network) -> list[Job]:
    """Return the jobs of the monitoring host `watcher` for all roles of the stack; jobs without targets are left out.

    The watcher's own programs come first, then the other direct scrapes, then those through the blackbox exporter.
    """
    others = [job for role in _watched(network, own=False) for job in role.scrapes(network.stack, watcher)]
    direct = [job for job in others if not job.probe]
    everything = [*scrapes(network.stack, watcher), *direct, *(job for job in others if job.probe)]
    return [job for job in everything if job.targets]


def alerting(watcher: Host, network: Network) -> list[File]:
    """Return the rule files of the roles that the stack uses; a rule of any other role would fire always or never."""
    stack, interval = network.stack, network.stack.settings(Monitoring).scrape_interval
    roles = sorted(_watched(network, own=True), key=lambda role: (not role.everywhere, role.name != ROLE.name))
    return [file for role in roles for file in role.rules(stack, watcher, interval)]


def _watched(network: Network, *, own: bool) -> list[Role]:
    roles = [role for role in network.roles.values() if hosts_of(network.stack, role)]
    return [role for role in roles if own or role.name != ROLE.name]


def scrapes(_stack: Stack, watcher: Host) -> Iterator[Job]:
    """Watch the monitoring host's own programs, which listen on the loopback address only."""
    programs = {"prometheus": ports.PROMETHEUS, "alertmanager": ports.ALERTMANAGER, "blackbox": ports.BLACKBOX}
    for name, port in programs.items():
        yield Job(name, (Target(f"127.0.0.1:{port}", labels(watcher)),))


def rules(_stack: Stack, _watcher: Host, _interval: int) -> Iterator[File]:
    """Yield the alerts for expiring certificates and for failures of the monitoring itself."""
    yield verbatim("monitoring", f"{RULES}/certificates.yml")
    yield verbatim("monitoring", f"{RULES}/meta.yml")


def _packages() -> Iterator[Resource]:
    for name in ("prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter", "curl"):
        yield Package(name=name)
    # The package asks only at installation whether to set the file capability that the program needs to ping.
    yield Preseed(
        package="prometheus-blackbox-exporter",
        question="prometheus-blackbox-exporter/want_cap_net_raw",
        kind="boolean",
        value="true",
    )


def _configuration(host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    stack, wanted = network.stack, jobs(host, network)
    values: dict[str, Any] = {"stack": stack, "host": host, "tls": TLS}
    for folder in ("rules", "targets"):
        yield Directory(path=f"{_ETC}/{folder}")
    timeout = scrape_timeout(stack.settings(Monitoring).scrape_interval)
    yield template("monitoring", _PROMETHEUS, jobs=wanted, timeout=timeout, **values)
    for job in wanted:
        path = f"{_ETC}/targets/{{job}}.yml"
        yield template("monitoring", path, at={"job": job.name}, host=host, targets=job.targets)
    webhook = stack.settings(Monitoring).webhook
    # Knowing a webhook's URL is often enough to post to it, so no diff may show it.
    url = Secret("monitoring.webhook", json.dumps(webhook)) if webhook else None
    yield template("monitoring", _ALERTMANAGER, mode=0o640, group="prometheus", host=host, webhook=url)
    statuses = {site_module(one): one.health.statuses for one in served(stack) if one.health.status is not None}
    site_authority = ""
    if stack.with_role("balancer"):
        site_authority = _PUBLIC_CAS if _by_public_authority(stack) else _SITE_CA
    if site_authority == _PUBLIC_CAS:
        yield Package(name="ca-certificates")
    yield template(
        "monitoring",
        _BLACKBOX,
        site_ca=site_authority,
        modules={"site_https": (), **statuses},
        **values,
    )
    if site_authority == _SITE_CA:
        yield File(path=_SITE_CA, content=_site_authority(stack, vault).encode())


def _site_authority(stack: Stack, vault: Vault) -> str:
    """Return the certificates that the monitoring host trusts when it checks the site's certificate.

    If a certificate is provided, they are its own chain, because the host may not trust its root.
    """
    tls = stack.settings(Balancer).tls
    if isinstance(tls, GivenCertificate):
        return pki.blocks(stack.file(tls.certificate), "CERTIFICATE")
    acme = stack.settings(Balancer).issuer
    if acme and acme.authority:
        return vault.authority + pki.blocks(stack.file(acme.authority), "CERTIFICATE")
    return vault.authority


def _by_public_authority(stack: Stack) -> bool:
    acme = stack.settings(Balancer).issuer
    return acme is not None and acme.authority is None


def _validations() -> Iterator[Resource]:
    yield Validation(
        name="prometheus configuration",
        run=f"promtool check config --lint=all --lint-fatal {_PROMETHEUS}",
        reads=(_PROMETHEUS, f"{RULES}/", f"{_ETC}/targets/"),
    )
    yield Validation(
        name="alertmanager configuration", run=f"amtool check-config {_ALERTMANAGER}", reads=(_ALERTMANAGER,)
    )
    yield Validation(
        name="blackbox configuration",
        run=f"prometheus-blackbox-exporter --config.check --config.file={_BLACKBOX}",
        reads=(_BLACKBOX,),
    )


def _daemons(stack: Stack, host: Host) -> Iterator[Resource]:
    systemd = "/etc/systemd/system"
    for name in ("prometheus-alertmanager", "prometheus-blackbox-exporter"):
        yield verbatim("monitoring", f"/etc/default/{name}")
        yield verbatim("monitoring", f"{systemd}/{name}.service.d/10-plainstack.conf")
    yield template("monitoring", "/etc/default/prometheus", host=host, retention=stack.settings(Monitoring).retention)
    yield verbatim("monitoring", f"{systemd}/prometheus.service.d/10-plainstack.conf")
    yield verbatim("monitoring", _RELOAD, mode=0o755)
    yield Unit(
        name="prometheus-blackbox-exporter.service",
        reload_on=(_BLACKBOX,),
        restart_on=("/etc/default/prometheus-blackbox-exporter",),
        listens=(Listen(ports.BLACKBOX, address="127.0.0.1"),),
        health=_took_its_configuration(ports.BLACKBOX, "/-/healthy", "blackbox_exporter"),
    )
    yield Unit(
        name="prometheus-alertmanager.service",
        reload_on=(_ALERTMANAGER,),
        restart_on=("/etc/default/prometheus-alertmanager",),
        listens=(Listen(ports.ALERTMANAGER, address="127.0.0.1"),),
        health=_took_its_configuration(ports.ALERTMANAGER, "/-/ready", "alertmanager"),
    )
    yield Unit(
        name="prometheus.service",
        reload_on=(_PROMETHEUS, f"{RULES}/"),
        restart_on=("/etc/default/prometheus",),
        listens=(Listen(ports.PROMETHEUS, address="127.0.0.1"),),
        health=_took_its_configuration(ports.PROMETHEUS, "/-/ready", "prometheus"),
        # Prometheus replays its whole write-ahead log before it is ready.
        timeout=180,
    )


def _took_its_configuration(port: int, ready: str, prefix: str) -> str:
    url = f"http://127.0.0.1:{port}"
    return f"""\
        curl -fs -m 2 {url}{ready} >/dev/null &&
        curl -fs -m 2 {url}/metrics | grep -qx '{prefix}_config_last_reload_successful 1'"""


def leaves(_stack: Stack, _host: Host) -> Iterator[Leftover]:
    """Yield the folders of Prometheus and of the Alertmanager."""
    data = "/var/lib/prometheus"
    yield Leftover(f"{data}/metrics2", "the metrics", packages=("prometheus",))
    yield Leftover(f"{data}/alertmanager", "the silences of alerts", packages=("prometheus-alertmanager",))


def tunnels(stack: Stack) -> Iterator[Tunnelled]:
    """Yield Prometheus and the Alertmanager on the first monitoring host."""
    first = stack.with_role("monitoring")[0].name
    pages = (
        Page("/classic/alerts", "every alert: whether it fires, and since when"),
        Page("/classic/targets", "every exporter on every host: whether it answers"),
        Page("/classic/graph", "any metric, by query"),
    )
    yield Tunnelled("Prometheus", "http", (first,), (LOOPBACK,), ports.PROMETHEUS, pages, ports.PROMETHEUS)
    yield Tunnelled("", "", (first,), (), ports.ALERTMANAGER)


ROLE = Role(
    name="monitoring",
    settings=Monitoring,
    desired=desired,
    after=("firewall",),
    uses=("*.metrics", "db.port"),
    scrapes=scrapes,
    rules=rules,
    tunnels=tunnels,
    leaves=leaves,
)
