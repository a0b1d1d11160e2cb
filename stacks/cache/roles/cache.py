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


class Cache(Model):
    """Redis on the cache hosts."""

    port: Port = Field(6379, description="The port that Redis listens on.")
    memory: str = Field("64mb", pattern=r"^[0-9]+(mb|gb)$", description="How much Redis keeps before it evicts keys.")


def desired(stack: Stack, host: Host, vault: Vault, _network: Network) -> Iterator[Resource]:
    """The package, its configuration with the password in it, and the running server."""
    settings = stack.settings(Cache)
    yield Package(name="redis-server", purge=True)
    known = {"host": host, "settings": settings, "password": vault.password("cache/password")}
    yield template("cache", CONFIGURATION, mode=0o640, owner="redis", group="redis", **known)
    yield verbatim("cache", f"/etc/systemd/system/{UNIT}.d/10-cache.conf")
    yield Unit(
        name=UNIT,
        restart_on=(CONFIGURATION,),
        listens=(Listen(settings.port, address=str(host.address)),),
        health=f"redis-cli -p {settings.port} ping 2>&1 | grep -q NOAUTH",
    )


def opens(stack: Stack, _host: Host) -> Iterator[Opening]:
    """Redis for the hosts that `offers_to` names."""
    yield Opening("redis", stack.settings(Cache).port, "tcp", "redis: {user}")


def url(stack: Stack, _host: Host, vault: Vault) -> str:
    """The URL of the first cache host."""
    there = f"{stack.with_role('cache')[0].name}:{stack.settings(Cache).port}"
    return f"redis://:{vault.password('cache/password').reveal()}@{there}/0"


def rules(_stack: Stack, watcher: Host, _interval: int) -> Iterator[File]:
    """A cache host without a running Redis."""
    yield alerts("cache", "cache", watcher, unit=UNIT)


ROLE = Role(
    name="cache",
    settings=Cache,
    desired=desired,
    after=("firewall",),
    opens=opens,
    offers_to={"redis": ("app",)},
    secrets=(DeclaredSecret("cache/password"),),
    provides={"cache.url": Reference("the URL of the cache, with its password", url, ("cache/password",))},
    rules=rules,
)
