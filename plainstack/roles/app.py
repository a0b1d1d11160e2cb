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
    """Return the name of a service's systemd unit."""
    return f"plainstack-{service}.service"


def desired(stack: Stack, host: Host, vault: Vault, _network: Network) -> Iterator[Resource]:
    """Yield the resources of the role app: an account, a release and a unit for each service."""
    yield Package(name="python3")
    yield Package(name="python3-pip-whl")
    yield Package(name="curl")
    # for HTTPS requests that an application makes
    yield Package(name="ca-certificates")
    yield Directory(path="/etc/plainstack/app")
    for name in stack.services:
        yield from _service(stack, host, vault, name)


def _service(stack: Stack, host: Host, vault: Vault, name: str) -> Iterator[Resource]:
    service = stack.services[name]
    here = release.read(stack, name)
    gunicorn = _gunicorn(name)
    ports = stack.ports(name)
    at = {"service": name}
    known: dict[str, Any] = {"stack": stack, "host": host, "name": name, "service": service, "ports": ports}
    yield User(name=account(name))
    yield Directory(path=home(name), mode=0o750, group=account(name), purge=True, layout=LAYOUT)
    yield Directory(path=f"{home(name)}/releases")
    yield Directory(path=f"{home(name)}/venvs")
    environment = template(
        "app",
        "/etc/plainstack/app/{service}.env",
        at=at,
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
        "/etc/plainstack/app/{service}.gunicorn.py",
        at=at,
        trusted=site.trusted_senders(stack, host),
        **known,
    )
    yield template(
        "app",
        "/etc/systemd/system/plainstack-{service}.service",
        at=at,
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
    """Open each service's port to the balancers only."""
    for name in stack.services:
        for port in stack.ports(name):
            yield Opening("http", port, "tcp", f"{name}, from the balancers")


def probe_facts(stack: Stack, _host: Host) -> str:
    """Return the script that prints the host's architecture, which selects wheels, and the addresses services bind."""
    lines = ['echo "arch=$(uname -m)"']
    lines += [f"sed -n 's/^bind = /bind.{name}=/p' {_gunicorn(name)} 2>/dev/null" for name in stack.services]
    return "\n".join(lines)


def transition(stack: Stack, observed: Mapping[str, Observed]) -> Stack:
    """Let every service keep listening on the ports that its hosts serve now, beside the new one."""
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
    """Report a stack with application servers but no services."""
    if stack.with_role("app") and not stack.services:
        yield (), "services: is missing, but a host has the role app"


def still_served(stack: Stack) -> Iterator[str]:
    """Yield a sentence for the ports of each service that the second pass closes."""
    for service, ports in stack.still.ports.items():
        yield (
            f"{service} also answers at port {' and '.join(map(str, ports))} until every balancer uses"
            f" {stack.services[service].port}. A second pass closes it"
        )


def tunnels(stack: Stack) -> Iterator[Target]:
    """Yield the port of each service on the first host, which bypasses the balancers."""
    first = stack.with_role("app")[0].name
    for service in stack.services.values():
        yield Target("", "", (first,), (), service.port)


def problems(stack: Stack, _now: datetime) -> Iterable[str]:
    """Return the problems that keep the services' sources from being installed and started on a host."""
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
    # Balancers may have taken a host out of use that was down for ten seconds. They check such a host twice a second
    # and use it again after a reload.
    settle=Settle(6, "wait until the balancers use the previous host again"),
    secrets=(DeclaredSecret("app/secret_key", "overlap"), DeclaredSecret("app/api_token", "grace")),
    reads=(sql.password_name(sql.OWNER),),
)
