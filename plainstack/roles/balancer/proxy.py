"""The reverse proxy of a balancer: nginx or Angie, configured from the same templates."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.addresses import bracketed
from plainstack.engine.apt_source import vendor_source
from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Absent, Directory, File, Listen, Package, Resource, Unit, Validation
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.roles.balancer import acme, cache, hashes, pages
from plainstack.roles.balancer.engines import ENGINES, Engine
from plainstack.roles.balancer.generation import generation, health
from plainstack.roles.balancer.routes import (
    USERS,
    configuration_check,
    default_headers,
    included,
    inside,
    limited_client,
    password_files,
    snippet_files,
)
from plainstack.roles.balancer.upstreams import PROGRAM, TARGETS, reachable, upstreams
from plainstack.roles.balancer.watched import METRICS_PORT
from plainstack.roles.balancer.wildcards import engine_name, key
from plainstack.roles.shared.exporter import exporter, web_file
from plainstack.secrets import pki
from plainstack.secrets.values import Secret, Vault
from plainstack.services import asset_files, maintenance, routing
from plainstack.services.edge import Balancer, GivenCertificate
from plainstack.services.processes import served

SITE_CERTIFICATE = f"{TLS}/site.crt"

_SITE_KEY = f"{TLS}/site.key"
# Pages under other names may use the fonts and scripts; whitenoise sends the same header.
_STATIC_HEADERS = {"Cache-Control": "$cache_of_files", "Access-Control-Allow-Origin": "*"}


def proxy(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of a balancer's engine: configuration, certificate and metrics."""
    engine = ENGINES[stack.settings(Balancer).engine]
    yield from _server(stack, host, vault, engine, network)
    if engine.name == "angie":
        yield from _vendor_packages(stack)
    else:
        yield from _exporter(network, host)


def _server(stack: Stack, host: Host, vault: Vault, engine: Engine, network: Network) -> Iterator[Resource]:
    for name in (engine.name, "curl", "logrotate", "openssl"):
        yield Package(name=name)
    if stack.settings(Balancer).brotli:
        yield Package(name=engine.brotli)
    yield from acme.packages(stack)
    yield Absent(path=engine.default_site)
    yield from pages.pages(stack)
    yield Directory(path=maintenance.PAGES)

    unit = f"{engine.name}.service"
    yield from upstreams(stack, host, engine)
    yield from password_files(stack, host, vault, engine)
    yield verbatim("balancer", maintenance.PROGRAM, mode=0o755)
    chain, key = _tls_files(stack, host, vault)
    obtaining = acme.files(stack, host, vault, engine)
    yield from obtaining
    configuration = (
        *_configuration(stack, host, vault, engine),
        *_ipv6_listeners(stack, host, engine),
        *snippet_files(stack, engine),
        *cache.configuration(stack, host, engine),
    )
    wanted = generation(*configuration, chain)
    files = (*configuration, _status(network, host, engine, wanted), chain, key)
    yield from files
    yield from _validations(engine, obtains=bool(obtaining))
    yield from reachable(stack, engine)
    yield from cache.resources(stack, engine)
    yield template(
        "balancer",
        "/etc/systemd/system/{engine}.service.d/10-plainstack.conf",
        at=engine.places,
        host=host,
        engine=engine,
        cache=cache.writable(stack),
    )
    # Only reload: a restart cuts off transfers that take longer than five seconds.
    host_certificate = (f"{TLS}/host.crt", f"{TLS}/ca.crt") if engine.name == "angie" else ()
    metrics = (Listen(METRICS_PORT, address=str(host.address)),) if engine.name == "angie" else ()
    yield Unit(
        name=unit,
        listens=(
            Listen(ports.HTTP),
            Listen(ports.HTTPS),
            Listen(ports.HTTPS, "udp"),
            Listen(ports.PROXY_STATUS, address="127.0.0.1"),
            *metrics,
        ),
        reload_on=(*(file.path for file in files), *host_certificate),
        health=health(engine, wanted),
        in_use=(f"{pages.FILES}/", f"{USERS}/", f"{cache.folder(stack, engine)}/"),
    )
    yield from acme.timer(obtaining)


def _validations(engine: Engine, *, obtains: bool) -> Iterator[Resource]:
    yield Validation(
        name="site certificate",
        run=f"""\
            openssl x509 -noout -checkend 0 -in {SITE_CERTIFICATE} >/dev/null || {{
                echo 'balancer.tls.certificate: has expired' >&2
                exit 1
            }}""",
        reads=(SITE_CERTIFICATE,),
    )
    prepare = f"\n{acme.PROGRAM} prepare" if obtains else ""
    yield Validation(
        name=f"{engine.name} configuration",
        run=configuration_check(engine, f"{PROGRAM} prepare{prepare}"),
        reads=(f"{engine.folder}/", SITE_CERTIFICATE, _SITE_KEY, TARGETS),
    )


def _configuration(stack: Stack, host: Host, vault: Vault, engine: Engine) -> tuple[File, File]:
    balancer = stack.settings(Balancer)
    issued = stack.settings(Balancer).issuer
    names = routing.names(stack)
    client, zone = limited_client(stack)
    main = template(
        "balancer",
        "/etc/{engine}/{engine}.conf",
        at=engine.places,
        host=host,
        engine=engine,
        max_body=balancer.max_body,
        client=client,
        zone=zone,
        cached=cache.used(stack),
        hashes=list(hashes.directives(stack)),
        brotli=balancer.brotli,
    )
    site = template(
        "balancer",
        "/etc/{engine}/{sites}/site.conf",
        at=engine.places,
        host=host,
        engine=engine,
        services=served(stack),
        server_names=balancer.server_names,
        names=names,
        spelled={name: engine_name(name) for name in names},
        keys={name: key(name) for name in [*names, "_"]},
        addresses=[bracketed(each) for each in (*balancer.virtual_addresses, *host.public_addresses)],
        sites=routing.sites(stack),
        limits=[one for one in routing.locations(stack) if one.route.limit],
        inside=inside(stack),
        included=included(stack, engine),
        files=pages.places(stack),
        defaults=[*default_headers(stack), *cache.header(stack)],
        http3=balancer.http3,
        connections=balancer.connections,
        client=client,
        zone=zone,
        maintenance=balancer.maintenance,
        default_server=_default_server(stack),
        assets=asset_files.FOLDER,
        static_headers=_STATIC_HEADERS,
        # It takes seconds to detect a lost host, so requests are retried; more tries than hosts would not help.
        tries=max(2, min(3, max((len(service.hosts) for service in served(stack)), default=0))),
        # For a year after this header, browsers do not let users ignore the warning about a self-signed certificate.
        strict_transport=isinstance(balancer.tls, GivenCertificate) or bool(issued),
        certificate=acme.CERTIFICATE if issued else SITE_CERTIFICATE,
        key=acme.KEY if issued else _SITE_KEY,
        thumbprint=acme.thumbprint(vault) if issued and not issued.dns else "",
    )
    return main, site


def _default_server(stack: Stack) -> str:
    return "" if stack.settings(Balancer).server_names else " default_server"


def _ipv6_listeners(stack: Stack, host: Host, engine: Engine) -> Iterator[File]:
    """Yield the IPv6 listeners, in files that the configuration includes only if the kernel has IPv6."""
    for name in ("redirect", "site", *(("stranger",) if stack.settings(Balancer).server_names else ())):
        yield template(
            "balancer",
            f"/etc/{{engine}}/ipv6/{name}.conf",
            at=engine.places,
            host=host,
            http3=stack.settings(Balancer).http3,
            default_server=_default_server(stack),
        )


def _status(network: Network, host: Host, engine: Engine, wanted: str) -> File:
    return template(
        "balancer",
        "/etc/{engine}/{sites}/status.conf",
        at=engine.places,
        host=host,
        engine=engine,
        scrapers=[peer.name for peer in network.users("balancer.metrics")],
        metrics_port=METRICS_PORT,
        generation=wanted,
    )


def _tls_files(stack: Stack, host: Host, vault: Vault) -> tuple[File, File]:
    """Return the site's certificate chain and key.

    For a self-signed site, the chain is the certificate alone: clients that trust the authority already have its root.
    """
    tls = stack.settings(Balancer).tls
    if isinstance(tls, GivenCertificate):
        chain = pki.blocks(stack.file(tls.certificate), "CERTIFICATE")
        key = Secret("site.key", pki.blocks(stack.file(tls.key), "PRIVATE KEY"))
    else:
        site = vault.certificate("site")
        chain, key = site.chain, site.key
    return (
        File(path=SITE_CERTIFICATE, content=chain.encode()),
        template("balancer", _SITE_KEY, mode=0o600, host=host, key=key),
    )


def _vendor_packages(stack: Stack) -> Iterator[Resource]:
    key = stack.settings(Balancer).angie_key
    assert key is not None, "the inventory refuses engine angie without it"
    source = "https://download.angie.software/angie/debian/13"
    yield from vendor_source("angie", source, "trixie", stack.file(key), "balancer.angie_key")


def _exporter(network: Network, host: Host) -> Iterator[Resource]:
    program = "prometheus-nginx-exporter"
    arguments = template(
        "balancer", f"/etc/default/{program}", host=host, web=web_file(program), metrics_port=METRICS_PORT
    )
    yield from exporter(network, host, "balancer", arguments, METRICS_PORT, str(host.address))
