"""Names, ports and addresses that are valid in themselves and cannot be used for what the inventory uses them for."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

from plainstack.inventory import port_numbers as ports
from plainstack.inventory import reserved
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc, dotted

Problem = tuple[Loc, str]

# Its account is app-NAME, and account names have at most 32 characters (useradd).
LONGEST_SERVICE = 28


def misuse(stack: Stack) -> Iterator[Problem]:
    """Where, and why it cannot be used."""
    yield from _names(stack)
    yield from _ports(stack)
    yield from _way_in(stack)


def _names(stack: Stack) -> Iterator[Problem]:
    if why := reserved.STACKS.get(stack.stack):
        yield ("stack",), f"stack: a stack cannot be called {stack.stack}: {why}; choose another name"
    for name in stack.hosts:
        if name in reserved.HOSTS:
            yield ("hosts", name), f"hosts.{name}: a host cannot be called {name}; the name has another meaning"
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
        yield ("ssh", "port"), f"ssh.port: {stack.ssh.port} is the port of {taker}; sshd cannot have it too"
    taken = {**ports.TAKEN, stack.ssh.port: "sshd (ssh.port)"}
    seen: dict[int, str] = {}
    for name, service in stack.services.items():
        loc = ("services", name, "port")
        if service.port in taken:
            yield (
                loc,
                f"{dotted(loc)}: {service.port} is the port of {taken[service.port]}; choose another, such as 8000",
            )
        elif service.port in seen:
            yield loc, f"{dotted(loc)}: {service.port} is taken by {seen[service.port]}"
        seen.setdefault(service.port, name)


def _way_in(stack: Stack) -> Iterator[Problem]:
    """What the firewall would shut out as soon as it is deployed."""
    allowed = stack.ssh.allow_from
    loc = ("ssh", "allow_from")
    if not allowed:
        yield loc, "ssh.allow_from: is empty, so no one could log in any more; name the operators' networks"
        return
    gateway = gateway_address(stack)
    if gateway is None:
        return
    own = next((host for host in stack.hosts.values() if gateway in (host.address, host.public)), None)
    seen = own.address if own else gateway
    # A gateway in front of another kind of network has a second address there, which is not known here.
    known = own or any(gateway.is_global == host.address.is_global for host in stack.hosts.values())
    if not known or any(seen in network for network in allowed):
        return
    yield (
        loc,
        f"ssh.allow_from: leaves out the gateway ({seen}), so the firewall would lock you out: add {seen}/32, or the"
        " address that the hosts see the gateway at",
    )


def gateway_address(stack: Stack) -> IPv4Address | None:
    """The gateway's address, where the inventory gives it as one and not by name."""
    host = (stack.ssh.gateway or "").rpartition("@")[2].partition(":")[0]
    try:
        return IPv4Address(host)
    except AddressValueError:
        return None
