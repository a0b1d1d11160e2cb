"""The services, processes and hosts that a command line names, checked before any host is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plainstack.errors import Refused
from plainstack.wording import did_you_mean

if TYPE_CHECKING:
    from plainstack.inventory.stack import Stack


def must_be_known(what: str, name: str, known: list[str]) -> None:
    """Raise Refused, with the name that was probably meant, if `name` is not among `known`."""
    if name not in known:
        raise Refused(f"unknown {what} {name!r}{did_you_mean(name, known)}; known: {', '.join(known) or 'none'}")


def chosen_units(stack: Stack, service: str, process: str, host: str) -> dict[str, dict[str, str]]:
    """Return the units that --process and --host select, each with its process, by host. Raises Refused."""
    from plainstack.inventory.load import select
    from plainstack.services import running
    from plainstack.services.processes import processes

    must_be_known("service", service, list(stack.services))
    if process:
        must_be_known(f"process of {service}", process, list(processes(stack, service)))
    what = f"{service}'s process {process}" if process else service
    everywhere = {
        one.name: units
        for one in running.hosts(stack, service)
        if (units := running.process_units(stack, service, one, process))
    }
    _, hosts = select(stack, (), "", host)
    if not everywhere:
        raise Refused(f"no host runs {what}")
    if others := [name for name in hosts if host and name not in everywhere]:
        raise Refused(f"{', '.join(others)}: does not run {what}; these do: {', '.join(everywhere)}")
    return {name: units for name, units in everywhere.items() if name in hosts}


def with_assets(stack: Stack, roles: Sequence[str], hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Add the hosts that serve static files of releases if --role selects the role whose hosts run the releases."""
    from plainstack.services import asset_files, processes

    if processes.ROLES[0] not in roles:
        return hosts
    more = {*hosts, *(host.name for host in asset_files.hosts(stack))}
    return tuple(name for name in stack.hosts if name in more)
