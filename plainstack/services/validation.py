"""Errors in the key `services` that only a combination of values shows."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.inventory import port_numbers
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Placement, Process, Writable
from plainstack.inventory.services import BinaryService, StaticService
from plainstack.inventory.stack import Stack
from plainstack.inventory.validation import problem_of_path
from plainstack.services import files, local_build, route_errors, static_paths
from plainstack.services.kinds import MAIN
from plainstack.services.processes import ROLES, hosts, processes, runner, served, upstream
from plainstack.wording import Loc, did_you_mean, dotted

Problem = tuple[Loc, str]

_NOT_FOR_FILES = (
    "processes",
    "timers",
    "env",
    "secrets",
    "packages",
    "drill",
    "writable",
    "files",
    "before",
    "after",
)
OBJECT_STORE = (
    "Keep uploads in an object store such as S3 (django-storages: docs/services.md), or run the service on one host:"
    " `hosts: [NAME]`."
)


def contradictions(stack: Stack, no_lease: str) -> Iterator[Problem]:
    """Yield the errors as (place, sentence) pairs.

    `no_lease` says what is missing for processes with `one: true`; it is empty if the database can store their leases.
    """
    seen: dict[str, str] = {}
    reached = {one.service for one in served(stack)}
    for name, service in stack.services.items():
        loc: Loc = ("services", name)
        if problem := _source(stack, name):
            yield (*loc, "source"), f"services.{name}.source: {problem}"
        if service.hosts is not None:
            yield from _placement(stack, (*loc, "hosts"), service.hosts)
        elif not stack.with_role(ROLES[0]) and not stack.with_role("balancer"):
            # With a balancer, the missing role is reported already: the role balancer needs it.
            yield loc, f"services.{name}.hosts: no host has the role {ROLES[0]}; name the hosts that run the service"
        for process, settings in processes(stack, name).items():
            place: Loc = (*loc, "processes", process)
            yield from _process(stack, place, settings, no_lease)
            unit = upstream(name, process)
            if unit in seen:
                yield place, f"{dotted(place)}: its unit, plainstack-{unit}, is already that of {seen[unit]}"
            seen.setdefault(unit, f"services.{name}.processes.{process}")
        yield from _shared(stack, name)
        if isinstance(service, StaticService):
            for key in _NOT_FOR_FILES:
                if getattr(service, key):
                    yield (
                        (*loc, key),
                        f"services.{name}.{key}: a service of the kind static runs no code; remove this key",
                    )
        for timer, each in service.timers.items():
            if each.hosts is not None:
                yield from _placement(stack, (*loc, "timers", timer, "hosts"), each.hosts)
        for secret, wanted in service.secrets.items():
            place = (*loc, "secrets", secret)
            if secret in service.env:
                yield place, f"{dotted(place)}: services.{name}.env sets {secret}, too; remove one of the two"
            if wanted.generate is not None and wanted.command is not None:
                yield place, f"{dotted(place)}: is either generated or printed by a command; remove one of the two"
        yield from files.contradictions(name, service)
        yield from static_paths.contradictions(name, service, served=name in reached)
        if problem := local_build.problem(stack, name):
            place = (*loc, "build", "local")
            yield place, f"{dotted(place)}: {problem}"
        if service.build.output and service.build.local is None:
            place = (*loc, "build", "output")
            yield place, f"{dotted(place)}: needs {dotted((*loc, 'build', 'local'))}"
        if not processes(stack, name):
            yield loc, f"services.{name}.processes: is missing; name at least one, such as {MAIN}: {{command: ...}}"
    yield from _ports(stack)
    yield from _routes(stack)


def _source(stack: Stack, name: str) -> str:
    service = stack.services[name]
    if isinstance(service, BinaryService) and stack.file(service.source).is_file():
        return ""
    return problem_of_path(stack, service.source, folder=True)


def _placement(stack: Stack, loc: Loc, placement: Placement) -> Iterator[Problem]:
    if isinstance(placement, str):
        if placement not in ROLES:
            hint = did_you_mean(placement, [*ROLES])
            known = f"the roles {' and '.join(ROLES)}, or a list of hosts"
            yield loc, f"{dotted(loc)}: {placement!r} is no role that runs services{hint}; known: {known}"
        elif not stack.with_role(placement):
            yield loc, f"{dotted(loc)}: no host has the role {placement}"
        return
    if not placement:
        yield loc, f"{dotted(loc)}: names no host"
    for name in placement:
        if name not in stack.hosts:
            hint = did_you_mean(name, [*stack.hosts])
            yield loc, f"{dotted(loc)}: unknown host {name!r}{hint}; known: {', '.join(stack.hosts)}"
        elif not runner(stack.hosts[name]):
            yield loc, f"{dotted(loc)}: {name} has neither of the roles {' and '.join(ROLES)}; give it one of them"


def _shared(stack: Stack, name: str) -> Iterator[Problem]:
    service, names = stack.services[name], [host.name for host in hosts(stack, name)]
    loc: Loc = ("services", name, "writable")
    for number, folder in enumerate(service.writable):
        if not isinstance(folder, Writable):
            continue
        if folder.shared and len(names) > 1:
            yield (
                (*loc, number),
                f"{dotted(loc)}: {folder.path} cannot be shared by {', '.join(names)}. {OBJECT_STORE}",
            )
        if folder.backup and not stack.with_role("backup"):
            yield (
                (*loc, number, "backup"),
                f"{dotted(loc)}: {folder.path} cannot be backed up, because no host has the role backup",
            )


def one_host_each(stack: Stack, host: Host) -> Iterator[str]:
    """Yield a note for each folder that a service's hosts do not share and that is not marked `shared: false`.

    Only the first host of the service yields it.
    """
    for name, service in stack.services.items():
        names = [one.name for one in hosts(stack, name)]
        if len(names) < 2 or names[0] != host.name or not any(one.service == name for one in served(stack)):
            continue
        undecided = (one for one in service.writable if isinstance(one, str) or one.shared is None)
        for folder in (one if isinstance(one, str) else one.path for one in undecided):
            yield (
                f"services.{name}.writable: {folder} is a separate folder on {', '.join(names)}: a file that a visitor"
                f" uploads is found on one host only. {OBJECT_STORE} If each host may have its own files, write"
                f" {{path: {folder}, shared: false}}"
            )


def _process(stack: Stack, loc: Loc, process: Process, no_lease: str) -> Iterator[Problem]:
    if process.hosts is not None:
        yield from _placement(stack, (*loc, "hosts"), process.hosts)
    for key, needed in (("health", "port"), ("live", "port"), ("routes", "port"), ("watchdog", "health")):
        if getattr(process, key) and getattr(process, needed) is None:
            yield (*loc, key), f"{dotted((*loc, key))}: needs {dotted((*loc, needed))}"
    if process.one:
        yield from _one((*loc, "one"), process, no_lease)
    if process.count > 1 and process.port is not None:
        yield (
            (*loc, "count"),
            f"{dotted((*loc, 'count'))}: {process.count} processes cannot share a port; let one start several workers",
        )


def _one(loc: Loc, process: Process, no_lease: str) -> Iterator[Problem]:
    if no_lease:
        yield loc, f"{dotted(loc)}: needs {no_lease}"
    for key in ("port", "watchdog"):
        if getattr(process, key) is not None:
            yield (*loc[:-1], key), f"{dotted((*loc[:-1], key))}: a process with `one: true` cannot have {key}"
    if process.restart != "always":
        # When it ended, its lease would be free, and each of the other hosts would run it, too.
        place = (*loc[:-1], "restart")
        what = "must be always, because of `one: true`. A command that ends belongs in `timers`, `before` or `after`"
        yield place, f"{dotted(place)}: {what}"
    if process.count > 1:
        yield (*loc[:-1], "count"), f"{dotted((*loc[:-1], 'count'))}: contradicts {dotted(loc)}; remove one of the two"


def _ports(stack: Stack) -> Iterator[Problem]:
    taken = {**port_numbers.TAKEN, stack.ssh.port: "sshd (ssh.port)"}
    seen: dict[int, str] = {}
    for service in stack.services:
        for name, process in processes(stack, service).items():
            if process.port is None:
                continue
            own = name in stack.services[service].processes
            loc: Loc = ("services", service, *(("processes", name) if own else ()), "port")
            if process.port in taken:
                yield (
                    loc,
                    f"{dotted(loc)}: {process.port} is the port of {taken[process.port]}; choose another, such as 8000",
                )
            elif process.port in seen:
                yield loc, f"{dotted(loc)}: {process.port} is taken by {seen[process.port]}"
            seen.setdefault(process.port, upstream(service, name))


def _routes(stack: Stack) -> Iterator[Problem]:
    for one in served(stack):
        if not one.health.path:
            where = f"services.{one.service}.processes.{one.process}"
            yield (
                ("services", one.service, "processes", one.process),
                f"{where}.health: is missing; the balancers use a host only while this page says that it is healthy",
            )
    yield from route_errors.problems(stack)
