"""Static files of services on the balancers: every balancer has a release's files before any host switches to it."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.network import Network
from plainstack.engine.resources import Resource
from plainstack.engine.role import Leftover, Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.services import asset_files, asset_hosts
from plainstack.services.processes import ROLES


def desired(stack: Stack, _host: Host, _vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the folder and the step of each service whose static files the balancers serve."""
    yield from asset_files.resources(stack, network)


def facts(stack: Stack, _host: Host) -> str:
    """Return the script that prints the releases whose static files this host has."""
    return "\n".join(asset_hosts.kept(stack))


def leaves(_stack: Stack, _host: Host) -> Iterator[Leftover]:
    """Yield the folder that holds those of the services."""
    yield Leftover(asset_files.FOLDER, "static files of services", data=False)


ROLE = Role(
    name=asset_files.ROLE,
    on=(asset_files.ON,),
    desired=desired,
    facts=facts,
    leaves=leaves,
    refusals=asset_hosts.refusals,
    follows=("firewall", "db"),
    amid=ROLES[:1],
)
