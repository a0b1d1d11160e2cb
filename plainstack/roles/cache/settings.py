"""The key `cache` of an inventory, and what the cache hosts and their clients must agree on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plainstack.engine.network import Network
from plainstack.inventory import port_numbers
from plainstack.inventory.sections import Host, Model
from plainstack.inventory.service_values import Size
from plainstack.inventory.stack import Stack
from plainstack.inventory.values import Bool

PORT = port_numbers.CACHE
# The password of the applications, and that of replicas, Sentinels, proxies and the exporter.
PASSWORD, INTERNAL = "cache/password", "cache/internal"
ACCOUNT = "plainstack"
UNIT = "valkey-server.service"
CLI = "/usr/local/lib/plainstack/cache-cli"
# A replica is healthy only when it has copied the primary's data.
HEALTHY = f"{CLI} info replication 2>&1 | tr -d '\\r' | grep -E '^(role:master|master_link_status:up)$'"
SERVER = "cache.server"
"""The offer that makes a host a client of the cache."""


class Cache(Model):
    """Valkey, which speaks Redis' protocol: a cache, a queue and a message broker for the services."""

    memory: Size = Field("256M", description="The most that the data takes in memory, such as `256M` or `2G`.")
    when_full: Literal["volatile-lru", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "noeviction"] = Field(
        "volatile-lru",
        description=(
            "Which keys are removed when `memory` is used up: a value of Valkey's `maxmemory-policy`. The default"
            " removes only keys with an expiry time, so that a cache never displaces the tasks of a queue."
        ),
    )
    persistent: Bool = Field(
        True,
        description=(
            "Whether data is saved to disk and survives a restart; a crash loses at most the last second of writes."
            " Must be true with several hosts."
        ),
    )


def clients(network: Network) -> list[Host]:
    """Return the hosts on which programs may use the cache."""
    return network.users(SERVER) if network.stack.with_role("cache") else []


def several(stack: Stack) -> bool:
    """Return whether the stack has replicas of the cache, one of which takes over when the primary is lost."""
    return len(stack.with_role("cache")) > 1
