"""Checks across keys: an address used twice, a role without the roles it needs, a missing file."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from plainstack.inventory import lab_misuse, reference_check
from plainstack.inventory.lab_settings import Visitor
from plainstack.inventory.misuse import misuse
from plainstack.inventory.sections import Host
from plainstack.inventory.shape import Shape
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc, dotted, shortened

Machine = tuple[Loc, Host | Visitor]


def _machines(stack: Stack) -> Iterator[Machine]:
    yield from ((("hosts", name), host) for name, host in stack.hosts.items())
    yield from ((("lab", "visitors", name), visitor) for name, visitor in stack.lab.visitors.items())


def shared_addresses(machines: Iterable[Machine]) -> Iterator[tuple[Loc, str]]:
    """Yield every address that an earlier machine already has."""
    seen: dict[object, str | int] = {}
    for loc, machine in machines:
        for key in ("address", "public", "public6"):
            address = getattr(machine, key)
            if address is None:
                continue
            if address in seen:
                yield (*loc, key), f"{dotted((*loc, key))}: {address} is already the address of {seen[address]}"
            seen.setdefault(address, loc[-1])


def _mixed_addresses(machines: Iterable[Machine]) -> Iterator[tuple[Loc, str]]:
    """Yield every machine whose address has another IP version than the first one's: they could not connect."""
    first: Machine | None = None
    for loc, machine in machines:
        first = first or (loc, machine)
        if machine.address.version != (version := first[1].address.version):
            yield (
                (*loc, "address"),
                f"{dotted((*loc, 'address'))}: {machine.address} is not an IPv{version} address like that of"
                f" {first[0][-1]}. Write addresses of one IP version here. A host may also have `public` and `public6`",
            )


def contradictions(stack: Stack, shape: Shape) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the description of every mistake that an otherwise valid inventory contains."""
    yield from shared_addresses(_machines(stack))
    yield from _mixed_addresses(_machines(stack))
    yield from lab_misuse.misuse(stack)
    yield from _roles(stack, shape)
    yield from reference_check.unresolved(stack, shape.references)
    yield from misuse(stack)
    for contradiction in shape.contradictions:
        yield from contradiction(stack)


def _roles(stack: Stack, shape: Shape) -> Iterator[tuple[Loc, str]]:
    for role, needed in ((role, needed) for role, names in shape.needs.items() for needed in names):
        if stack.with_role(role) and not stack.with_role(needed):
            first = stack.with_role(role)[0].name
            yield (
                ("hosts", first, "roles"),
                f"hosts.{first}.roles: {role} needs a host with the role {needed}, and none has it",
            )
    for name, host in stack.hosts.items():
        if twice := next((role for role in host.roles if host.roles.count(role) > 1), ""):
            yield ("hosts", name, "roles"), f"hosts.{name}.roles: {twice} is given twice"
    for role in shape.single:
        if len(stack.with_role(role)) > 1:
            second = stack.with_role(role)[1].name
            yield ("hosts", second, "roles"), f"hosts.{second}.roles: only one host can have the role {role}"


def problem_of_path(stack: Stack, path: Path, *, folder: bool = False) -> str:
    """Return why a path of the inventory is not a usable file (or folder, with `folder`); empty if it is."""
    shown = shortened(str(path))
    try:
        mode = stack.file(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"no such {'folder' if folder else 'file'}: {shown}"
    except OSError as error:
        return f"cannot be read: {shown}: {error.strerror}"
    if folder and not stat.S_ISDIR(mode):
        return f"no such folder: {shown} is a file"
    return "" if folder or stat.S_ISREG(mode) else f"no such file: {shown} is not a regular file"
