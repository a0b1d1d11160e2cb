"""The commands behind `inv lab.*`: an inventory's hosts as real hosts of this machine."""

from __future__ import annotations

from typing import NoReturn

from invoke.exceptions import Exit

from plainstack.commands import load, told
from plainstack.console import Console
from plainstack.errors import Refused
from plainstack.lab.model import Lab, LabHost
from plainstack.stack import Host, Stack, Visitor


def of(stack: Stack) -> Lab:
    """The lab of an inventory: its hosts and its visitors. Raises Refused when the inventory does not use the lab."""
    if not stack.in_lab:
        raise Refused("ssh.gateway is not 'lab' in this inventory, so its hosts are not lab hosts")
    machines: list[tuple[str, Host | Visitor]] = [*stack.hosts.items(), *stack.lab.visitors.items()]
    hosts = tuple(
        LabHost(name, str(machine.address), str(machine.public) if machine.public else None)
        for name, machine in machines
    )
    return Lab(stack.stack, hosts, stack.state / "lab", stack.ssh.user)


def up(inventory: str) -> None:
    """inv lab.up"""
    console = Console()
    with told(console):
        from plainstack.lab.up import up as lab_up

        lab_up(of(load(inventory)), lambda host, what: console.line(f"{host}: {what}"))


def down(inventory: str) -> None:
    """inv lab.down"""
    console = Console()
    with told(console):
        from plainstack.lab.up import down as lab_down

        lab_down(of(load(inventory)), lambda host, what: console.line(f"{host}: {what}"))


def status(inventory: str) -> None:
    """inv lab.status"""
    console = Console()
    with told(console):
        from plainstack.lab.up import status as lab_status

        states = lab_status(of(load(inventory)))
        for host, state in states.items():
            console.line(f"{host:<12} {state}")
    if any(state != "up" for state in states.values()):
        raise Exit(code=1)


def shell(inventory: str, host: str) -> NoReturn:
    """inv lab.shell"""
    console = Console()
    with told(console):
        from plainstack.lab.up import shell as lab_shell

        lab_shell(of(load(inventory)), host)
    raise Exit(code=1)
