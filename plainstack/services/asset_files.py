"""The static files of services on the balancers, which serve them: the folders, and the steps of a release there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from plainstack.engine.network import Network
from plainstack.engine.resources import Directory, Resource
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import asset_steps, processes, release, static_paths

ROLE = "assets"
"""The role that brings the files to the balancers."""

USE = "assets_in_use"
"""The role that puts them in use."""

ON = "balancer"
"""The role whose hosts have this role too."""

FOLDER = "/var/lib/plainstack-static"


def names(stack: Stack) -> list[str]:
    """Return the services whose static files the balancers serve."""
    found = dict.fromkeys(one.service for one in processes.served(stack) if one.static and one.assets)
    return list(found)


def hosts(stack: Stack, service: str = "") -> list[Host]:
    """Return the hosts that serve the static files of a service; without a name, those of any service."""
    return stack.with_role(ON) if (service in names(stack) if service else names(stack)) else []


def folder(service: str) -> str:
    """Return the folder with a service's static files on a balancer."""
    return f"{FOLDER}/{service}"


def resources(stack: Stack, network: Network) -> Iterator[Resource]:
    """Yield the resources of a balancer: a folder for each service, and the step that fills it."""
    found = names(stack)
    if found:
        yield Directory(path=FOLDER)
    for name in found:
        yield Directory(path=folder(name), purge=True, layout=asset_steps.LAYOUT)
        inside = static_paths.inside(stack.services[name])
        having = [host.name for host in processes.hosts(stack, name)]
        yield asset_steps.fetch(name, folder(name), _release(stack, network, name), inside, having)


def in_use(stack: Stack, network: Network) -> Iterator[Resource]:
    """Yield the steps that put the files in use, for when the application's hosts have switched."""
    for name in names(stack):
        yield asset_steps.use(name, folder(name), _release(stack, network, name))


def _release(stack: Stack, network: Network, service: str) -> str:
    return network.once(f"release {service}", partial(release.wanted, stack, service)).id
