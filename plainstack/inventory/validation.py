"""What no single key of an inventory shows: an address twice, a role without the roles it needs, a missing section."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from plainstack.inventory import lab_misuse
from plainstack.inventory.lab_settings import Visitor
from plainstack.inventory.misuse import misuse
from plainstack.inventory.sections import GivenCertificate, Host
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc, dotted, shortened

Machine = tuple[Loc, Host | Visitor]

# A role's hosts are of no use without these: (role, role it needs).
NEEDS = (("backup", "db"), ("app", "db"), ("balancer", "app"))


def _machines(stack: Stack) -> Iterator[Machine]:
    yield from ((("hosts", name), host) for name, host in stack.hosts.items())
    yield from ((("lab", "visitors", name), visitor) for name, visitor in stack.lab.visitors.items())


def shared_addresses(machines: Iterable[Machine]) -> Iterator[tuple[Loc, str]]:
    """Every address that a machine before already has."""
    seen: dict[object, str | int] = {}
    for loc, machine in machines:
        for key in ("address", "public"):
            address = getattr(machine, key)
            if address is None:
                continue
            if address in seen:
                yield (*loc, key), f"{dotted((*loc, key))}: {address} is already the address of {seen[address]}"
            seen.setdefault(address, loc[-1])


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Where, and what is wrong: everything that a valid inventory can still get wrong."""
    machines = [*_machines(stack)]
    yield from shared_addresses(machines)
    seen = {address: loc[-1] for loc, machine in machines for address in (machine.address, machine.public) if address}
    virtual = stack.balancer.virtual_address
    if virtual in seen:
        yield ("balancer", "virtual_address"), f"balancer.virtual_address: {virtual} is the address of {seen[virtual]}"
    yield from lab_misuse.misuse(stack)
    for role, needed in NEEDS:
        if stack.with_role(role) and not stack.with_role(needed):
            first = stack.with_role(role)[0].name
            yield (
                ("hosts", first, "roles"),
                f"hosts.{first}.roles: {role} needs a host with the role {needed}, and none has it",
            )
    for name, host in stack.hosts.items():
        if len(set(host.roles)) != len(host.roles):
            yield ("hosts", name, "roles"), f"hosts.{name}.roles: a role is given twice"
    if len(stack.with_role("backup")) > 1:
        second = stack.with_role("backup")[1].name
        yield ("hosts", second, "roles"), f"hosts.{second}.roles: only one host can have the role backup"
    if stack.with_role("db") and stack.database is None:
        yield (), "database: is missing; a host has the role db (write: database: {name: NAME})"
    if stack.with_role("app") and not stack.services:
        yield (), "services: is missing; a host has the role app"
    paths: dict[str, str] = {}
    for name, service in stack.services.items():
        if problem := _problem_of(stack, service.source, folder=True):
            yield ("services", name, "source"), f"services.{name}.source: {problem}"
        for key, path in (("path", service.path), ("static_url", service.static)):
            if path in paths:
                yield ("services", name), f"services.{name}.{key}: {path} is already served by {paths[path]}"
            paths.setdefault(path, name)
    yield from misuse(stack)
    yield from _entrance(stack)
    yield from _recipients(stack)
    for name, host in stack.hosts.items():
        if host.interface is not None and (virtual is None or "balancer" not in host.roles):
            yield (
                ("hosts", name, "interface"),
                f"hosts.{name}.interface: only a balancer of a stack with balancer.virtual_address uses it; remove it",
            )
    if virtual is not None:
        for host in stack.with_role("balancer"):
            if host.public is None:
                yield ("hosts", host.name), f"hosts.{host.name}.public: is missing; balancer.virtual_address needs it"


def _problem_of(stack: Stack, path: Path, *, folder: bool = False) -> str:
    """Why a path of the inventory is not the folder, or the file, that it should be; empty when it is."""
    shown = shortened(str(path))
    try:
        mode = stack.file(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"no such {'folder' if folder else 'file'}: {shown}"
    except OSError as error:
        return f"cannot be read: {shown}: {error.strerror}"
    if folder and not stat.S_ISDIR(mode):
        return f"no such folder: {shown} is a file"
    return "" if folder or stat.S_ISREG(mode) else f"no such file: {shown} is something else"


def _entrance(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """What the balancers need as files beside the inventory: given certificates, and the key of Angie's packages."""
    balancer = stack.balancer
    if balancer.engine == "angie":
        if balancer.angie_key is None:
            yield (
                ("balancer", "engine"),
                "balancer.angie_key: is missing; engine angie needs the key that signs its packages, as a file: "
                "fetch https://angie.software/keys/angie-signing.gpg and compare its checksum with a source you trust",
            )
        elif problem := _problem_of(stack, balancer.angie_key):
            yield ("balancer", "angie_key"), f"balancer.angie_key: {problem}"
        elif problem := _problem_of_key(stack.file(balancer.angie_key)):
            yield ("balancer", "angie_key"), f"balancer.angie_key: {balancer.angie_key} {problem}"
    if isinstance(balancer.tls, GivenCertificate):
        from plainstack.roles.balancer import given_certificate

        if not balancer.server_names:
            yield (
                ("balancer", "tls"),
                "balancer.server_names: is missing; name what the given certificate is for, as users type it",
            )
        for key, problem in given_certificate.problems(stack, balancer.tls):
            yield ("balancer", "tls", key), f"balancer.tls.{key}: {problem}"


def _problem_of_key(path: Path) -> str:
    from plainstack.inventory import openpgp

    try:
        return openpgp.problem_of(path.read_bytes())
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _recipients(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Keys that the secrets cannot be encrypted to; never quoted, one may be a private key."""
    if not stack.secrets.recipients:
        return
    from plainstack.secrets import age

    seen: dict[str, int] = {}
    for number, recipient in enumerate(stack.secrets.recipients):
        loc = ("secrets", "recipients", number)
        if problem := age.problem_of(recipient):
            yield loc, f"{dotted(loc)}: {problem}"
        first = seen.setdefault(age.key_of(recipient), number)
        if first != number:
            yield loc, f"{dotted(loc)}: the same key as {dotted((*loc[:2], first))}"
