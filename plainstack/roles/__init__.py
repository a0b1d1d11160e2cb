"""The roles that Plainstack ships, and the registry of all roles, including a stack's own."""

from __future__ import annotations

import functools
import heapq
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from plainstack.engine.role import Role
from plainstack.errors import InventoryError
from plainstack.roles import own

# Modules here that are not roles: the loader of a stack's own roles, and resources that several roles share.
_HELPERS = ("own", "shared")


@functools.cache
def registry(folder: Path | None = None) -> Mapping[str, Role]:
    """Return all roles by name, shipped ones and those in a stack's folder, in the order in which they are deployed.

    Raises InventoryError if a module in the folder defines no role, or if a role has a name or key that is taken, or
    names a role that does not exist.
    """
    roles = dict(_shipped())
    problems: list[str] = []
    for role in own.roles(folder) if folder else ():
        problems += own.problems(role, roles)
        roles.setdefault(role.name, role)
    problems += [problem for role in roles.values() for problem in own.unknown(role, roles)]
    if problems:
        raise InventoryError(problems)
    return {name: roles[name] for name in _ordered(roles.values())}


def _shipped() -> Iterator[tuple[str, Role]]:
    for found in pkgutil.iter_modules(__path__):
        if found.name not in _HELPERS:
            module = importlib.import_module(f"{__name__}.{found.name}")
            role: Role = module.ROLE
            yield role.name, replace(role, origin="plainstack", about=own.about(module))


def _ordered(roles: Iterable[Role]) -> Iterator[str]:
    """Yield the names, each after the roles it follows, otherwise sorted; roles that every host has come first."""
    waits = {role.name: {*role.after, *role.follows} for role in roles}
    everywhere = {role.name for role in roles if role.everywhere}
    for name in waits.keys() - everywhere:
        waits[name] |= everywhere
    sorter = TopologicalSorter(waits)
    try:
        sorter.prepare()
    except CycleError as error:
        raise InventoryError([f"roles wait for one another: {' -> '.join(error.args[1])}"]) from None
    ready: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, name)
        name = heapq.heappop(ready)
        yield name
        sorter.done(name)
