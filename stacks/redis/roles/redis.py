"""Redis as a cache for the applications."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import File, Listen, Package, Resource, Unit
from plainstack.engine.role import DeclaredSecret, Opening, Reference, Role
from plainstack.inventory.sections import Host, Model
from plainstack.inventory.stack import Stack
from plainstack.inventory.values import Port
from plainstack.roles.shared.alerts import alerts
from plainstack.secrets.values import Vault

CONFIGURATION = "/etc/redis/redis.conf"
UNIT = "redis-server.service"


class Redis(Model):
    """Redis on the redis hosts."""

    port: Port = Field(6379, description="The port that Redis listens on.")
    memory: str = Field("64mb", pattern=r"^[0-9]+(mb|gb)$", description="How much Redis keeps before it evicts keys.")


def desired(stack: Stack, host: Host, vault: Vault, _network: Network) -> Iterator[Resource]:
    """The package, its configuration with the password in it, and the running server."""
    settings = stack.settings(Redis)
    yield Package(name="redis-server", purge=True)
    known = {"host": host, "settings": settings, "password": vault.password("redis/password")}
    yield template("redis", CONFIGURATION, mode=0o640, owner="redis", group="redis", **known)
    yield verbatim("redis", f"/etc/systemd/system/{UNIT}.d/10-redis.conf")
    yield Unit(
        name=UNIT,
        restart_on=(CONFIGURATION,),
        listens=(Listen(settings.port, address=str(host.address)),),
        health=f"redis-cli -p {settings.port} ping 2>&1 | grep -q NOAUTH",
    )


def opens(stack: Stack, _host: Host) -> Iterator[Opening]:
    """Redis for the hosts that `offers_to` names."""
    yield Opening("server", stack.settings(Redis).port, "tcp", "redis: {user}")


def url(stack: Stack, _host: Host, vault: Vault) -> str:
    """The URL of the first redis host."""
    there = f"{stack.with_role('redis')[0].name}:{stack.settings(Redis).port}"
    return f"redis://:{vault.password('redis/password').reveal()}@{there}/0"


def rules(_stack: Stack, watcher: Host, _interval: int) -> Iterator[File]:
    """A redis host without a running Redis."""
    yield alerts("redis", "redis", watcher, unit=UNIT)


ROLE = Role(
    name="redis",
    settings=Redis,
    desired=desired,
    after=("firewall",),
    opens=opens,
    offers_to={"server": ("app",)},
    secrets=(DeclaredSecret("redis/password"),),
    provides={"redis.url": Reference("the URL of Redis, with its password", url, ("redis/password",))},
    rules=rules,
)
