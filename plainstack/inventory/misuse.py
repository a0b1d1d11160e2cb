"""Finds names and ports that are valid in themselves but cannot be used where the inventory uses them."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.inventory import port_numbers as ports
from plainstack.inventory import reserved
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc

Problem = tuple[Loc, str]

# The service's account is app-NAME, and useradd limits account names to 32 characters.
LONGEST_SERVICE = 28


def misuse(stack: Stack) -> Iterator[Problem]:
    """Yield the place of each unusable value, and why it cannot be used."""
    yield from _names(stack)
    yield from _ports(stack)


def _names(stack: Stack) -> Iterator[Problem]:
    if why := reserved.STACKS.get(stack.stack):
        yield ("stack",), f"stack: a stack cannot be called {stack.stack}: {why}; choose another name"
    for name in stack.hosts:
        if name in reserved.HOSTS:
            yield ("hosts", name), f"hosts.{name}: a host cannot be called {name}; the name is reserved"
    for name in stack.services:
        if len(name) > LONGEST_SERVICE:
            yield ("services", name), f"services.{name}: a service's name has at most {LONGEST_SERVICE} characters"
        if why := reserved.service(name):
            yield (
                ("services", name),
                f"services.{name}: a service cannot be called {name}: {why}; choose another name",
            )


def _ports(stack: Stack) -> Iterator[Problem]:
    if stack.ssh.port != ports.SSH and (taker := ports.TAKEN.get(stack.ssh.port)):
        yield ("ssh", "port"), f"ssh.port: {stack.ssh.port} is the port of {taker}; choose another for sshd"
