"""Valkey, for caches, queues and sessions: on one host, or on several, of which Sentinels choose the primary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from plainstack.engine.network import Network
from plainstack.engine.references import Reference
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, Listen, Package, Resource, Unit
from plainstack.engine.role import Column, DeclaredSecret, HostWork, Leftover, Opening, Role, one_by_one
from plainstack.inventory import port_numbers
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.roles.cache.seen import facts, status
from plainstack.roles.cache.settings import ACCOUNT, CLI, HEALTHY, INTERNAL, PASSWORD, PORT, UNIT, Cache, several
from plainstack.roles.cache.watched import EXPORTER_PORT, rules, scrapes
from plainstack.secrets.values import Secret, Vault
from plainstack.wording import Loc

SENTINEL_PORT = port_numbers.CACHE_SENTINEL
FOLDER = "/etc/plainstack/cache"
_LIBRARY = "/usr/local/lib/plainstack"
_START, _RELOAD = f"{_LIBRARY}/cache-start", f"{_LIBRARY}/cache-reload"
_SYSTEM = "/etc/systemd/system"
_SENTINEL, _EXPORTER = "valkey-sentinel.service", "prometheus-redis-exporter.service"
_CERTIFICATE = tuple(f"{TLS}/{name}" for name in ("ca.crt", "host.crt", "host.key"))
# Seconds. A replica is healthy only when it has copied the primary's data.
_PATIENCE = 120


def desired(stack: Stack, host: Host, vault: Vault, _network: Network) -> Iterator[Resource]:
    """Yield the resources of a cache host: Valkey, a Sentinel if there are several hosts, and the exporter."""
    hosts = stack.with_role("cache")
    known: dict[str, Any] = {
        "host": host,
        "settings": stack.settings(Cache),
        "folder": FOLDER,
        "first": hosts[0].name,
        "peers": [peer.name for peer in hosts if peer is not host],
        "several": several(stack),
        # A majority of the Sentinels decides.
        "quorum": len(hosts) // 2 + 1,
        "port": PORT,
        "sentinel_port": SENTINEL_PORT,
        "account": ACCOUNT,
        "internal": vault.password(INTERNAL),
        "tls": TLS,
    }
    yield Package(name="valkey-server")
    yield Directory(path=FOLDER)
    yield Directory(path=_LIBRARY)
    secret: dict[str, Any] = {"mode": 0o640, "group": "valkey"}
    for name in ("valkey.conf", "live.conf"):
        yield template("cache", f"{FOLDER}/{name}", **secret, **known)
    accepted = {ACCOUNT: _digests(vault, INTERNAL), "default": _digests(vault, PASSWORD)}
    yield template("cache", f"{FOLDER}/users.acl", accepted=accepted, **secret, **known)
    for script in (_START, CLI, _RELOAD):
        yield template("cache", script, mode=0o700, **known)
    yield verbatim("cache", f"{_SYSTEM}/{UNIT}.d/10-plainstack.conf")
    yield Unit(
        name=UNIT,
        restart_on=(f"{FOLDER}/valkey.conf", _START),
        reload_on=(f"{FOLDER}/live.conf", f"{FOLDER}/users.acl", *_CERTIFICATE),
        listens=(Listen(PORT, address=str(host.address)),),
        health=HEALTHY,
        timeout=_PATIENCE,
    )
    if several(stack):
        yield Package(name="valkey-sentinel")
        yield template("cache", f"{FOLDER}/sentinel.conf", **secret, **known)
        yield verbatim("cache", f"{_SYSTEM}/{_SENTINEL}.d/10-plainstack.conf")
        yield Unit(
            name=_SENTINEL,
            restart_on=(f"{FOLDER}/sentinel.conf", _START, *_CERTIFICATE),
            listens=(Listen(SENTINEL_PORT, address=str(host.address)),),
        )
    yield from _exporter(known)


def _digests(vault: Vault, name: str) -> list[Secret]:
    """Return the digests of all valid values of a secret, as Valkey's access list takes them."""
    return [
        Secret(f"{name}.sha256", hashlib.sha256(value.reveal().encode()).hexdigest())
        for value in (vault.password(name), *vault.also_accepted(name))
    ]


def _exporter(known: Mapping[str, Any]) -> Iterator[Resource]:
    yield Package(name="prometheus-redis-exporter")
    arguments = "/etc/default/prometheus-redis-exporter"
    yield template("cache", arguments, mode=0o600, exporter_port=EXPORTER_PORT, **known)
    yield verbatim("cache", f"{_SYSTEM}/{_EXPORTER}.d/10-plainstack.conf")
    # It reads its own certificate and key once.
    yield Unit(name=_EXPORTER, restart_on=(arguments, *_CERTIFICATE), listens=(Listen(EXPORTER_PORT),))


def opens(_stack: Stack, _host: Host) -> Iterator[Opening]:
    """Offer Valkey to clients, Valkey and Sentinel to the other cache hosts, and the exporter to monitoring."""
    yield Opening("server", PORT, "tcp", "cache: {user}")
    yield Opening("peers", PORT, "tcp", "replicas of the cache: {user}")
    yield Opening("peers", SENTINEL_PORT, "tcp", "the cache's Sentinels: {user}")
    yield Opening("metrics", EXPORTER_PORT, "tcp", "exporter of the cache: {user}")


def leaves(_stack: Stack, _host: Host) -> Iterator[Leftover]:
    """Yield the folder in which Valkey saves its data."""
    yield Leftover("/var/lib/valkey", "the data of the cache", packages=("valkey*",))


def turns(_stack: Stack, work: Mapping[str, HostWork]) -> Sequence[Sequence[str]]:
    """Return the hosts one at a time, the primary last, when its replicas have restarted."""
    return one_by_one(_stack, dict(sorted(work.items(), key=lambda item: item[1].facts.get("cache.role") == "master")))


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Report two cache hosts, which could not choose a new primary, and several that do not save their data."""
    hosts = stack.with_role("cache")
    if len(hosts) == 2:
        yield (
            ("hosts", hosts[1].name, "roles"),
            "two hosts with the role cache cannot choose a new primary: neither knows whether the other one is lost or"
            " only cut off. Use one host, or three",
        )
    if len(hosts) > 1 and not stack.settings(Cache).persistent:
        yield (
            ("cache", "persistent"),
            "cache.persistent: must be true with several hosts: if the primary restarted without data, the replicas"
            " would delete theirs",
        )


def declared(stack: Stack) -> Sequence[DeclaredSecret]:
    """Return the two passwords of a stack with a cache."""
    names = (PASSWORD, INTERNAL) if stack.with_role("cache") else ()
    return [DeclaredSecret(name, "overlap") for name in names]


def _url(_stack: Stack, _host: Host, vault: Vault) -> str:
    return f"redis://:{quote(vault.password(PASSWORD).reveal(), safe='')}@127.0.0.1:{PORT}/0"


_REFERENCES = {
    "cache.url": Reference("the URL of the cache, for database 0", _url, (PASSWORD,)),
    "cache.host": Reference("the address of the cache: 127.0.0.1", lambda *_: "127.0.0.1"),
    "cache.port": Reference("the port of the cache", lambda *_: str(PORT)),
    "cache.password": Reference(
        "the password of the cache", lambda _stack, _host, vault: vault.password(PASSWORD).reveal(), (PASSWORD,)
    ),
}

ROLE = Role(
    name="cache",
    settings=Cache,
    desired=desired,
    after=("firewall",),
    opens=opens,
    uses=("cache.peers",),
    offers_to={"server": ("app", "worker")},
    contradictions=contradictions,
    secrets=declared,
    provides=_REFERENCES,
    turns=turns,
    facts=facts,
    status=Column("cache", 4, status),
    scrapes=scrapes,
    rules=rules,
    leaves=leaves,
)
