"""The way in: nginx or Angie ends TLS and spreads requests over the app hosts, keepalived moves the virtual address."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from plainstack.render import template, verbatim
from plainstack.resources import Absent, Directory, File, Package, Resource, Sysctl, Unit, Validation
from plainstack.roles import Opening, Role
from plainstack.roles.base import TLS
from plainstack.secrets import Secret, Vault
from plainstack.stack import GivenCertificate, Host, Stack

METRICS_PORT = 9113
SITE_CERTIFICATE = f"{TLS}/site.crt"

_SITE_KEY = f"{TLS}/site.key"
_SYSCTLS = "/etc/sysctl.d/60-plainstack-balancer.conf"
_KERNEL = {
    "net.ipv4.tcp_retries2": "3",
    "net.ipv4.tcp_keepalive_time": "3",
    "net.ipv4.tcp_keepalive_intvl": "1",
    "net.ipv4.tcp_keepalive_probes": "4",
}
_ERROR_PAGES = "/usr/local/share/plainstack"


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the two engines differ on disk; their configuration language is the same."""

    name: str
    user: str
    sites: str
    default_site: str
    state: str

    @property
    def folder(self) -> str:
        return f"/etc/{self.name}"

    @property
    def configuration(self) -> str:
        return f"/etc/{self.name}/{self.name}.conf"

    @property
    def logs(self) -> str:
        return f"/var/log/{self.name}"


ENGINES = {
    "nginx": Engine(
        name="nginx",
        user="www-data",
        sites="/etc/nginx/conf.d",
        default_site="/etc/nginx/sites-enabled/default",
        state="/var/lib/nginx",
    ),
    "angie": Engine(
        name="angie",
        user="angie",
        sites="/etc/angie/http.d",
        default_site="/etc/angie/http.d/default.conf",
        state="/var/cache/angie",
    ),
}


def desired(stack: Stack, host: Host, vault: Vault) -> Iterator[Resource]:
    """The resources of role balancer."""
    engine = ENGINES[stack.balancer.engine]
    yield from _sysctls(host)
    yield from _proxy(stack, host, vault, engine)
    if engine.name == "angie":
        yield from _vendor_packages(stack, host)
    else:
        yield from _exporter(stack, host)
    if stack.balancer.virtual_address:
        yield from _virtual_address(stack, host)


def opens(stack: Stack, host: Host) -> Iterator[Opening]:
    """HTTP, HTTPS and HTTP/3 for anybody, metrics for the monitoring hosts, VRRP between the balancers."""
    yield Opening(80, "tcp", None, "http: redirect to https")
    yield Opening(443, "tcp", None, "https")
    yield Opening(443, "udp", None, "http/3")
    scrapers = tuple(str(peer.address) for peer in stack.with_role("monitoring"))
    yield Opening(METRICS_PORT, "tcp", scrapers, "balancer metrics: monitoring")
    if stack.balancer.virtual_address:
        yield Opening(0, "vrrp", tuple(str(peer.public) for peer in _peers(stack, host)), "vrrp: the other balancers")


def probe_facts(stack: Stack, host: Host) -> str:
    """The shell text that makes a balancer say whether it holds the virtual address, as vip=yes or vip=no."""
    if "balancer" not in host.roles or stack.balancer.virtual_address is None:
        return ""
    holds = f"ip -o -4 address show | grep -q ' {stack.balancer.virtual_address}/'"
    return f"if {holds}; then echo vip=yes; else echo vip=no; fi"


def _peers(stack: Stack, host: Host) -> list[Host]:
    return [peer for peer in stack.with_role("balancer") if peer.name != host.name]


def _sysctls(host: Host) -> Iterator[Resource]:
    yield template("balancer", _SYSCTLS, host=host, settings=_KERNEL)
    for name, value in _KERNEL.items():
        yield Sysctl(name=name, value=value)


def _proxy(stack: Stack, host: Host, vault: Vault, engine: Engine) -> Iterator[Resource]:
    for name in (engine.name, "curl", "logrotate", "openssl"):
        yield Package(name=name)
    yield Absent(path=engine.default_site)
    yield Directory(path=_ERROR_PAGES)
    yield verbatim("balancer", f"{_ERROR_PAGES}/plainstack-unavailable.html")

    unit = f"{engine.name}.service"
    chain, key = _tls_files(stack, host, vault)
    configuration = _configuration(stack, host, engine)
    generation = _generation(*configuration, chain)
    files = (*configuration, _status(stack, host, engine, generation), chain, key)
    yield from files
    yield from _validations(engine)
    yield template(
        "balancer",
        f"/etc/systemd/system/{unit}.d/10-plainstack.conf",
        source="/etc/systemd/system/nginx.service.d/10-plainstack.conf",
        host=host,
        engine=engine,
    )
    # Reloads only: Debian's `restart` cuts off transfers that take longer than five seconds.
    host_certificate = (f"{TLS}/host.crt", f"{TLS}/ca.crt") if engine.name == "angie" else ()
    yield Unit(
        name=unit,
        reload_on=(*(file.path for file in files), *host_certificate),
        health=f'[ "$(curl -fs -m 2 http://127.0.0.1:8081/generation)" = {generation} ]',
    )


def _validations(engine: Engine) -> Iterator[Resource]:
    yield Validation(
        name="site certificate",
        run=f"""\
            openssl x509 -noout -checkend 0 -in {SITE_CERTIFICATE} >/dev/null || {{
                echo 'balancer.tls.certificate: has expired' >&2
                exit 1
            }}""",
        reads=(SITE_CERTIFICATE,),
    )
    yield Validation(
        name=f"{engine.name} configuration",
        run=f"{engine.name} -t -q -c {engine.configuration}",
        reads=(f"{engine.folder}/", SITE_CERTIFICATE, _SITE_KEY),
    )


def _configuration(stack: Stack, host: Host, engine: Engine) -> tuple[File, File]:
    balancer = stack.balancer
    main = template(
        "balancer",
        engine.configuration,
        source="/etc/nginx/nginx.conf",
        host=host,
        engine=engine,
        max_body=balancer.max_body,
    )
    site = template(
        "balancer",
        f"{engine.sites}/site.conf",
        source="/etc/nginx/conf.d/site.conf",
        host=host,
        engine=engine,
        services=stack.services,
        apps=stack.with_role("app"),
        server_names=balancer.server_names,
        default_server="" if balancer.server_names else " default_server",
        # A browser that was told so refuses, for a year and with no way around, the plain warning page that a
        # self-signed certificate needs.
        strict_transport=isinstance(balancer.tls, GivenCertificate),
    )
    return main, site


def _status(stack: Stack, host: Host, engine: Engine, generation: str) -> File:
    return template(
        "balancer",
        f"{engine.sites}/status.conf",
        source="/etc/nginx/conf.d/status.conf",
        host=host,
        engine=engine,
        scrapers=[peer.name for peer in stack.with_role("monitoring")],
        metrics_port=METRICS_PORT,
        generation=generation,
    )


def _tls_files(stack: Stack, host: Host, vault: Vault) -> tuple[File, File]:
    """The site's chain and key. Of the own authority's only the leaf: who trusts the authority has its certificate."""
    tls = stack.balancer.tls
    if isinstance(tls, GivenCertificate):
        chain = stack.file(tls.certificate).read_text(encoding="ascii")
        key = Secret("site.key", stack.file(tls.key).read_text(encoding="ascii"))
    else:
        site = vault.certificate("site")
        chain, key = site.chain, site.key
    return (
        File(path=SITE_CERTIFICATE, content=chain.encode()),
        template("balancer", _SITE_KEY, mode=0o600, host=host, key=key),
    )


def _generation(*files: File) -> str:
    """What tells the configuration that the workers run from the one before."""
    return hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()[:16]


def _vendor_packages(stack: Stack, host: Host) -> Iterator[Resource]:
    assert stack.balancer.angie_key is not None, "the inventory refuses engine angie without it"
    key = stack.file(stack.balancer.angie_key).read_bytes()
    # apt tells the two forms of a key apart by the name alone.
    keyring = "/etc/apt/keyrings/angie." + ("asc" if key.startswith(b"-----BEGIN") else "gpg")
    yield File(path=keyring, content=key, early=True)
    yield template("balancer", "/etc/apt/sources.list.d/angie.sources", early=True, host=host, keyring=keyring)


def _exporter(stack: Stack, host: Host) -> Iterator[Resource]:
    arguments = "/etc/default/prometheus-nginx-exporter"
    web = "/etc/prometheus-nginx-exporter/web.yml"
    scrapers = [peer.name for peer in stack.with_role("monitoring")]
    yield Package(name="prometheus-nginx-exporter")
    yield Directory(path="/etc/prometheus-nginx-exporter")
    yield template("base", web, source="/etc/prometheus-node-exporter/web.yml", host=host, scrapers=scrapers)
    yield template("balancer", arguments, host=host, web=web, metrics_port=METRICS_PORT)
    yield verbatim("balancer", "/etc/systemd/system/prometheus-nginx-exporter.service.d/10-plainstack.conf")
    yield Unit(
        name="prometheus-nginx-exporter.service",
        restart_on=(arguments,),
        health=f"ss -Hltn 'sport = :{METRICS_PORT}' | grep -q .",
    )


def _virtual_address(stack: Stack, host: Host) -> Iterator[Resource]:
    names = [balancer.name for balancer in stack.with_role("balancer")]
    virtual_address, interface = stack.balancer.virtual_address, stack.balancer.interface
    configuration = "/etc/keepalived/keepalived.conf"
    arguments = "/etc/default/keepalived"
    yield Package(name="keepalived")
    yield verbatim("balancer", arguments)
    yield verbatim("balancer", "/etc/keepalived/check-proxy", mode=0o755)
    yield template("balancer", "/etc/keepalived/vip-owner", mode=0o755, host=host, virtual_address=virtual_address)
    yield template(
        "balancer",
        configuration,
        host=host,
        interface=interface,
        router_id=stack.balancer.router_id,
        priority=150 - names.index(host.name),
        peers=_peers(stack, host),
        virtual_address=virtual_address,
    )
    yield Validation(
        name="balancer interface",
        run=f"""\
            [ -e /sys/class/net/{interface} ] || {{
                echo "balancer.interface: this host has no {interface}; it has" $(ls /sys/class/net) >&2
                exit 1
            }}""",
        reads=(configuration,),
    )
    yield Validation(
        name="keepalived configuration",
        # 5: it has something to warn of, and would run.
        run=f"keepalived -t -f {configuration} || [ $? = 5 ]",
        reads=("/etc/keepalived/",),
    )
    yield verbatim("balancer", "/etc/systemd/system/keepalived.service.d/10-plainstack.conf")
    yield Unit(name="keepalived.service", reload_on=(configuration,), restart_on=(arguments,))


ROLE = Role(
    name="balancer", desired=desired, opens=opens, after=("firewall",), rolling=True, settle=2, facts=probe_facts
)
