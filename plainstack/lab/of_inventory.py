"""The lab that hosts an inventory's stack."""

from __future__ import annotations

from plainstack.errors import Refused
from plainstack.inventory.lab_settings import Visitor
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.lab.branches import branches_of, innermost
from plainstack.lab.model import Lab, LabHost
from plainstack.services import site


def of(stack: Stack) -> Lab:
    """Return the lab of an inventory: its hosts and visitors. Raises Refused if the inventory does not use the lab."""
    if not stack.in_lab:
        raise Refused("ssh.gateway is not 'lab' in this inventory, so its hosts are not lab hosts")
    machines: list[tuple[str, Host | Visitor]] = [*stack.hosts.items(), *stack.lab.visitors.items()]
    branches = tuple(branches_of(stack))
    places = innermost(stack, branches)
    hosts = tuple(
        LabHost(
            name,
            str(machine.address),
            str(machine.public) if machine.public else None,
            str(machine.public6) if machine.public6 else None,
            _room(stack.lab.disks[name]) if name in stack.lab.disks else None,
            release=stack.lab.debian.get(name, LabHost.release),
            ipv6=name not in stack.lab.no_ipv6,
            branch=places.get(name, ""),
            names=_names(stack, name),
            resolver=_resolver(stack, name),
        )
        for name, machine in machines
    )
    return Lab(
        stack.lab_name,
        hosts,
        stack.state / "lab",
        stack.ssh.user,
        branches=branches,
        packages=stack.lab.packages,
    )


def _names(stack: Stack, name: str) -> tuple[tuple[str, str], ...]:
    # /etc/hosts would hide what the resolver answers.
    return site.addresses(stack) if name in stack.lab.visitors and _resolver(stack, name) is None else ()


def _resolver(stack: Stack, name: str) -> str | None:
    visitor = stack.lab.visitors.get(name)
    return str(visitor.resolver) if visitor and visitor.resolver else None


def _room(text: str) -> int:
    return int(text[:-1]) << (30 if text.endswith("G") else 20)
