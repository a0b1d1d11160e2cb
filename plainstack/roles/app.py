"""Application servers: the releases, the settings and the Gunicorn unit of each service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from plainstack.engine.network import Network
from plainstack.engine.observed import Observed
from plainstack.engine.render import template
from plainstack.engine.resources import Directory, Listen, Package, Resource, Unit, User
from plainstack.engine.role import DeclaredSecret, Opening, Role, Settle, one_by_one
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import Target
from plainstack.postgresql import sql
from plainstack.secrets.values import Vault
from plainstack.services import health, release, release_check, site
from plainstack.services.release_steps import LAYOUT, account, home, prune, put_in_place, settings, settings_ahead
from plainstack.wording import Loc


def unit(service: str) -> str:
    """The systemd unit of a service."""
    return f"plainstack-{service}.service"


def desired(stack: Stack, host: Host, vault: Vault, _network: Network) -> Iterator[Resource]:
    """Everything an application server runs: one account, release and unit for each service."""
    yield Package(name="python3")
    yield Package(name="python3-pip-whl")
    yield Package(name="curl")
    # for what an application asks over https
    yield Package(name="ca-certificates")
    yield Directory(path="/etc/plainstack/app")
    for name in stack.services:
        yield from _service(stack, host, vault, name)


def _service(stack: Stack, host: Host, vault: Vault, name: str) -> Iterator[Resource]:
    service = stack.services[name]
    here = release.read(stack, name)
    gunicorn = _gunicorn(name)
    ports = stack.ports(name)
    known: dict[str, Any] = {"stack": stack, "host": host, "name": name, "service": service, "ports": ports}
    yield User(name=account(name))
    yield Directory(path=home(name), mode=0o750, group=account(name), purge=True, layout=LAYOUT)
    yield Directory(path=f"{home(name)}/releases")
    yield Directory(path=f"{home(name)}/venvs")
    environment = template(
        "app",
        settings(name),
        source="etc/plainstack/app/service.env",
        mode=0o640,
        group=account(name),
        vault=vault,
        database_user=sql.login(vault),
        allowed_hosts=site.accepted(stack),
        **known,
    )
    yield environment
    yield replace(environment, path=settings_ahead(name), ahead=True)
    yield template(
        "app",
        gunicorn,
        source="etc/plainstack/app/service.gunicorn.py",
        trusted=site.trusted_senders(stack, host),
        **known,
    )
    yield template(
        "app",
        f"/etc/systemd/system/{unit(name)}",
        source="etc/systemd/system/plainstack-service.service",
        account=account(name),
        home=home(name),
        capabilities="CAP_NET_BIND_SERVICE" if min(ports) < 1024 else "",
        **known,
    )
    yield from put_in_place(name, here, f"{service.project}.wsgi:application")
    yield Unit(
        name=unit(name),
        restart_on=(settings(name), gunicorn, f"release:{here.id}"),
        listens=(Listen(service.port, address=str(host.address)),),
        health=health.script(stack, host, name, here.id),
        timeout=60,
    )
    yield prune(name)


def _gunicorn(service: str) -> str:
    return f"/etc/plainstack/app/{service}.gunicorn.py"


def opens(stack: Stack, _host: Host) -> Iterable[Opening]:
    """Each service's port, to the balancers and nobody else."""
    for name in stack.services:
        for port in stack.ports(name):
            yield Opening("http", port, "tcp", f"{name}, from the balancers")


def probe_facts(stack: Stack, _host: Host) -> str:
    """The host's architecture, by which wheels are chosen, and the addresses that each service binds."""
    lines = ['echo "arch=$(uname -m)"']
    lines += [f"sed -n 's/^bind = /bind.{name}=/p' {_gunicorn(name)} 2>/dev/null" for name in stack.services]
    return "\n".join(lines)


def transition(stack: Stack, observed: Mapping[str, Observed]) -> Stack:
    """Every service also answers at the ports that its hosts serve now."""
    wanted = {service.port for service in stack.services.values()}
    served = {
        name: {
            int(port)
            for host in stack.with_role("app")
            if host.name in observed
            for port in re.findall(r':([0-9]+)"', observed[host.name].facts.get(f"bind.{name}", ""))
        }
        for name in stack.services
    }
    ports = {name: tuple(sorted(found - wanted)) for name, found in served.items() if found - wanted}
    return stack.model_copy(update={"still": stack.still.model_copy(update={"ports": ports})}) if ports else stack


def contradictions(stack: Stack) -> Iterable[tuple[Loc, str]]:
    """Application servers without an application."""
    if stack.with_role("app") and not stack.services:
        yield (), "services: is missing; a host has the role app"


def still_served(stack: Stack) -> Iterator[str]:
    """The ports that close in the second pass."""
    for service, ports in stack.still.ports.items():
        yield (
            f"{service} also answers at port {' and '.join(map(str, ports))} until every balancer uses"
            f" {stack.services[service].port}; a second pass closes it"
        )


def tunnels(stack: Stack) -> Iterator[Target]:
    """Each service past the balancers, on the first host."""
    first = stack.with_role("app")[0].name
    for service in stack.services.values():
        yield Target("", "", (first,), (), service.port)


def problems(stack: Stack, _now: datetime) -> Iterable[str]:
    """What keeps the services' sources from being installed and started on a host."""
    return release_check.problems(stack)


ROLE = Role(
    name="app",
    needs=("db",),
    contradictions=contradictions,
    desired=desired,
    opens=opens,
    uses=("db.application",),
    facts=probe_facts,
    transition=transition,
    used_by=("balancer",),
    still_served=still_served,
    tunnels=tunnels,
    problems=problems,
    after=("firewall", "db"),
    turns=one_by_one,
    # A host that was away for ten seconds or more was taken out by the balancers. They ask it twice a second, and it is
    # used again when they have reloaded.
    settle=Settle(6, "let the balancers see the previous host again"),
    secrets=(DeclaredSecret("app/secret_key", "overlap"), DeclaredSecret("app/api_token", "grace")),
    reads=(sql.password_name(sql.OWNER),),
)
