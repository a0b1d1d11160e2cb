"""(stack, vault) -> the desired state of every host: the resources of its roles, checked for conflicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from plainstack.engine import probe
from plainstack.engine.declared import vault_of
from plainstack.engine.kinds.registry import kind_of, place_of
from plainstack.engine.network import Network
from plainstack.engine.resources import Absent, File, Link, Resource, Unit
from plainstack.engine.role import Role, of_host
from plainstack.engine.sources import Sources, used
from plainstack.engine.stamps import inputs
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import UndeclaredSecret, Vault

HostDesired = Mapping[str, Sequence[Resource]]


def assemble(stack: Stack, vault: Vault, roles: Mapping[str, Role], hosts: Iterable[str]) -> dict[str, HostDesired]:
    """Return the desired state of the named hosts, by host and role. Raises InventoryError; see one_by_one."""
    return dict(one_by_one(stack, vault, roles, hosts))


def one_by_one(
    stack: Stack, vault: Vault, roles: Mapping[str, Role], hosts: Iterable[str]
) -> Iterator[tuple[str, HostDesired]]:
    """Yield each host's name and desired state as soon as it is computed.

    After the first problem, yield no more hosts, but check the rest. Raises InventoryError at the end, with the
    problems of all hosts, such as templates that do not render and resources of two roles that conflict.
    """
    problems: list[str] = []
    network = Network(stack, roles)
    sources = Sources.of(stack.folder)
    for name in hosts:
        host = stack.hosts[name]
        wanted: dict[str, Sequence[Resource]] = {}
        for role in of_host(host, dict(roles)):
            try:
                with used(sources):
                    limited = vault_of(role, stack, host, vault, roles)
                    wanted[role.name] = tuple(role.desired(stack, host, limited, network))
            except InventoryError as error:
                problems += error.problems
            except UndeclaredSecret as error:
                problems.append(f"{role.origin or role.name}: {error}")
        problems += [*_conflicts(host, wanted), *_written_later(host, wanted)]
        if not problems:
            yield name, wanted
    if problems:
        raise InventoryError(list(dict.fromkeys(problems)))


def check(stack: Stack, roles: Mapping[str, Role], chosen: Iterable[str], hosts: Iterable[str], now: datetime) -> None:
    """Check the files and certificates of the stack that the chosen roles use on these hosts.

    Raises InventoryError if a role could not be deployed with them.
    """
    wanted = scope(roles, chosen)
    here = {role.name for name in hosts for role in of_host(stack.hosts[name], dict(roles))}
    asked = [role for role in roles.values() if role.name in here and (wanted is None or role.name in wanted)]
    if problems := [problem for role in asked for problem in role.problems(stack, now)]:
        raise InventoryError(problems)


def _conflicts(host: Host, wanted: HostDesired) -> Iterable[str]:
    seen: dict[str, tuple[str, Resource]] = {}
    guards: dict[str, str] = {}
    for role, resources in wanted.items():
        for item in resources:
            for name in kind_of(item).guards(item):
                if guards.setdefault(name, item.key) != item.key:
                    yield f"{host.name}: {guards[name]} and {item.key} both have a guard named {name}"
            name = place_of(item)
            if name in seen and seen[name][1] != item:
                yield f"{host.name}: roles {seen[name][0]} and {role} declare {name} differently"
            seen.setdefault(name, (role, item))


def _written_later(host: Host, wanted: HostDesired) -> Iterator[str]:
    """Yield a sentence for each unit that reads a file of a later role: it would load before the file is written."""
    everything = [item for resources in wanted.values() for item in resources]
    written: set[str] = set()
    for role, resources in wanted.items():
        written |= {item.path for item in resources if isinstance(item, File | Link | Absent)}
        for unit in resources:
            if isinstance(unit, Unit):
                for path in sorted(inputs(unit, everything) - written):
                    yield f"{host.name}: role {role}: {unit.name} reads {path}, which a later role writes"


def scope(roles: Mapping[str, Role], chosen: Iterable[str]) -> tuple[str, ...] | None:
    """Return the roles to deploy with --role: the chosen ones, those in their `after`, and those that join these.

    The roles of every host are always among them. None means all roles, because --role was not given.
    """
    wanted = set(chosen)
    if not wanted:
        return None
    while needed := {name for role in wanted for name in roles[role].after} - wanted:
        wanted |= needed
    wanted |= {role.name for role in roles.values() if not wanted.isdisjoint(role.joins)}
    return tuple(role.name for role in roles.values() if role.everywhere or role.name in wanted)


def probe_script(stack: Stack, host: Host, wanted: HostDesired, roles: Mapping[str, Role]) -> str:
    """Return the probe of a host, which reads everything that its plan needs."""
    facts = [snippet for role in of_host(host, dict(roles)) if (snippet := role.facts(stack, host))]
    return probe.script((item for resources in wanted.values() for item in resources), facts)
