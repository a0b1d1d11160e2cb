"""Static files of services on the balancers: those of the new release are used once the application's hosts use it."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.network import Network
from plainstack.engine.resources import Resource
from plainstack.engine.role import Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.services import asset_files
from plainstack.services.processes import ROLES


def desired(stack: Stack, _host: Host, _vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the step of each service whose static files the balancers serve."""
    yield from asset_files.in_use(stack, network)


ROLE = Role(
    name=asset_files.USE,
    on=(asset_files.ON,),
    desired=desired,
    follows=(asset_files.ROLE, *ROLES[:1]),
    joins=ROLES[:1],
)
