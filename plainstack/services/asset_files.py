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
    """Yield the resources of a balancer: a folder for each service, and the steps that fill it and put it in use."""
    found = names(stack)
    if found:
        yield Directory(path=FOLDER)
    for name in found:
        yield Directory(path=folder(name), purge=True, layout=asset_steps.LAYOUT)
        wanted = network.once(f"release {name}", partial(release.wanted, stack, name))
        inside = static_paths.inside(stack.services[name])
        having = [host.name for host in processes.hosts(stack, name)]
        yield asset_steps.fetch(name, folder(name), wanted.id, inside, having)
        yield asset_steps.use(name, folder(name), wanted.id)
