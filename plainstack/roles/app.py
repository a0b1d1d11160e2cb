"""The role app: each service's releases, settings and Gunicorn unit on an application server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from plainstack import health, release, site
from plainstack.database import sql
from plainstack.release_steps import account, home, prune, put_in_place, settings
from plainstack.render import template
from plainstack.resources import Directory, Package, Resource, Unit, User
from plainstack.roles import Opening, Role, one_by_one
from plainstack.secrets import Vault
from plainstack.stack import Host, Stack


def unit(service: str) -> str:
    """The systemd unit of a service."""
    return f"plainstack-{service}.service"


def desired(stack: Stack, host: Host, vault: Vault) -> Iterator[Resource]:
    """Everything an application server runs: one account, release and unit for each service."""
    yield Package(name="python3")
    yield Package(name="python3-pip-whl")
    yield Package(name="curl")
    yield Directory(path="/etc/plainstack/app")
    for name in stack.services:
        yield from _service(stack, host, vault, name)


def _service(stack: Stack, host: Host, vault: Vault, name: str) -> Iterator[Resource]:
    service = stack.services[name]
    here = release.read(stack, name)
    gunicorn = f"/etc/plainstack/app/{name}.gunicorn.py"
    known: dict[str, Any] = {"stack": stack, "host": host, "name": name, "service": service}
    yield User(name=account(name))
    yield Directory(path=home(name), mode=0o750, group=account(name))
    yield Directory(path=f"{home(name)}/releases")
    yield Directory(path=f"{home(name)}/venvs")
    yield template(
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
        capabilities="CAP_NET_BIND_SERVICE" if service.port < 1024 else "",
        **known,
    )
    yield from put_in_place(name, here)
    yield Unit(
        name=unit(name),
        restart_on=(settings(name), gunicorn, f"release:{here.id}"),
        health=health.script(stack, host, name, here.id),
        timeout=60,
    )
    yield prune(name)


def opens(stack: Stack, _host: Host) -> Iterable[Opening]:
    """Each service's port, to the balancers and nobody else."""
    balancers = tuple(str(balancer.address) for balancer in stack.with_role("balancer"))
    for name, service in stack.services.items():
        yield Opening(port=service.port, protocol="tcp", sources=balancers, why=f"{name}, from the balancers")


def probe_facts(_stack: Stack, _host: Host) -> str:
    """The host's architecture, by which wheels are chosen."""
    return 'echo "arch=$(uname -m)"'


ROLE = Role(
    name="app",
    desired=desired,
    opens=opens,
    facts=probe_facts,
    after=("firewall", "db"),
    turns=one_by_one,
    # Balancers keep a failed peer out for 5 s (fail_timeout); the next host must not go before they use this one again.
    settle=6,
    passwords=("app/secret_key", "app/api_token"),
    rotated={"app/secret_key": "overlap", "app/api_token": "grace"},
)
