"""Finds mistakes in an inventory's `lab:` block that involve more than one value."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv6Address

from plainstack.inventory import lab_addresses
from plainstack.inventory.lab_settings import Visitor
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc, dotted


def misuse(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the description of each mistake."""
    lab = stack.lab
    machines: dict[str, Host | Visitor] = {**stack.hosts, **lab.visitors}
    for name in lab.visitors:
        if name in stack.hosts:
            yield ("lab", "visitors", name), f"lab.visitors.{name}: a host of the stack has this name. Choose another"
    for key, names in (("disks", lab.disks), ("debian", lab.debian)):
        for name in names:
            if name not in machines:
                yield ("lab", key, name), f"lab.{key}.{name}: there is no host {name}"
    for name in lab.links:
        if name not in machines and name not in lab.sites:
            yield ("lab", "links", name), f"lab.links.{name}: there is no host and no site {name}"
    yield from _list(("lab", "no_ipv6"), lab.no_ipv6, machines)
    for number, name in enumerate(lab.no_ipv6):
        if name in machines and (address := _ipv6(machines[name])):
            here = ("lab", "no_ipv6", number)
            yield here, f"{dotted(here)}: {name} has the address {address}, so it needs IPv6"
    place: dict[str, str] = {}
    for site, members in lab.sites.items():
        if site in machines:
            yield ("lab", "sites", site), f"lab.sites.{site}: a host has this name. Choose another"
        if not members:
            yield (
                ("lab", "sites", site),
                f"lab.sites.{site}: names no host. Name some, such as [db2], or remove the site",
            )
        yield from _list(("lab", "sites", site), members, machines)
        for number, name in enumerate(members):
            if place.setdefault(name, site) != site:
                loc = ("lab", "sites", site, number)
                yield loc, f"{dotted(loc)}: {name} is in the site {place[name]} already"
    yield from lab_addresses.misuse(stack)


def _ipv6(machine: Host | Visitor) -> IPv6Address | None:
    return next((one for one in (machine.address, machine.public6) if isinstance(one, IPv6Address)), None)


def _list(loc: Loc, names: tuple[str, ...], known: Collection[str]) -> Iterator[tuple[Loc, str]]:
    for number, name in enumerate(names):
        if name not in known:
            yield (*loc, number), f"{dotted((*loc, number))}: there is no host {name}"
        elif name in names[:number]:
            yield (*loc, number), f"{dotted((*loc, number))}: {name} is given twice"
