"""A proxy on every host with clients of the cache: it finds the primary, so that programs need only one URL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, Listen, Package, Resource, Unit, User, Validation
from plainstack.engine.role import Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.roles.cache.settings import ACCOUNT, INTERNAL, PORT, clients
from plainstack.secrets.values import Vault

_FOLDER = "/etc/plainstack/cache_client"
_CONFIGURATION = f"{_FOLDER}/haproxy.cfg"
_UNIT = "plainstack-cache-proxy.service"
_USER = "plainstack-cache"


def desired(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield HAProxy on a host whose programs use the cache; nothing on others."""
    if host not in clients(network):
        return
    known: dict[str, Any] = {
        "servers": stack.with_role("cache"),
        "port": PORT,
        "account": ACCOUNT,
        "internal": vault.password(INTERNAL),
        "tls": TLS,
    }
    yield Package(name="haproxy")
    yield User(name=_USER)
    yield Directory(path=_FOLDER)
    yield template("cache_client", _CONFIGURATION, mode=0o640, group=_USER, **known)
    yield Validation(name="cache_client", run=f"haproxy -c -q -f {_CONFIGURATION}", reads=(_CONFIGURATION,))
    # The package's own instance is not used.
    yield Unit(name="haproxy.service", enabled=False, running=False)
    yield verbatim("cache_client", f"/etc/systemd/system/{_UNIT}")
    yield Unit(name=_UNIT, reload_on=(_CONFIGURATION, f"{TLS}/ca.crt"), listens=(Listen(PORT, address="127.0.0.1"),))


def reads(stack: Stack) -> tuple[str, ...]:
    """Return the secret with which the proxy asks a server whether it is the primary."""
    return (INTERNAL,) if stack.with_role("cache") else ()


ROLE = Role(name="cache_client", on=("app", "worker"), desired=desired, reads=reads, after=("firewall", "cache"))
