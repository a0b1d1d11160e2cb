"""The resources of a service on a host: account, settings, release, and the units of its processes and timers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from plainstack.engine.network import Network
from plainstack.engine.render import template
from plainstack.engine.resources import Directory, File, Listen, Package, Resource, Unit, User
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Process
from plainstack.inventory.services import DjangoService, StaticService
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.services import (
    files,
    health,
    holds,
    hook_steps,
    hooks,
    package_units,
    port_changes,
    processes,
    release,
    site,
    static_files,
    stops,
    variables,
)
from plainstack.services.here import Here
from plainstack.services.kinds import MAIN
from plainstack.services.places import LAYOUT, account, data, home, settings, settings_ahead
from plainstack.services.processes import runs_gunicorn
from plainstack.services.release_pruning import prune
from plainstack.services.release_steps import proven, put_in_place
from plainstack.services.single import PROGRAMS, login, supervisor
from plainstack.services.unit_files import process_files, timers
from plainstack.services.variables import Scope
from plainstack.services.watchdog import watchdog


def resources(
    stack: Stack, host: Host, vault: Vault, network: Network, name: str, running: Mapping[str, Process]
) -> Iterator[Resource]:
    """Yield the resources of a service on a host; `running` are the processes that the host runs."""
    found = network.once(f"release {name}", lambda: release.wanted(stack, name))
    here = Here(stack, host, name, found, Scope(stack, host, name, found.id, vault, network.references()))
    yield from (Package(name=package) for package in here.service.packages)
    if here.service.packages:
        yield package_units.started(name, here.service.packages)
    yield User(name=account(name))
    yield Directory(path=home(name), mode=0o750, group=account(name), purge=True, layout=LAYOUT)
    yield Directory(path=f"{home(name)}/releases")
    yield Directory(path=f"{home(name)}/venvs")
    yield from _writable(here)
    yield from holds.files(stack, name)
    yield from _settings(here)
    if MAIN in running and runs_gunicorn(stack, name):
        yield _gunicorn(here)
    if isinstance(here.service, StaticService):
        yield from static_files.configuration(stack, host, name, found.id, here.ports(MAIN))
    if any(wanted.one for wanted in running.values()) or any(
        processes.moves(stack, name, timer) for timer in here.timers.values()
    ):
        yield from supervisor(here.scope)
    yield from port_changes.program(here, running)
    for process, wanted in running.items():
        yield from process_files(here, process, wanted)
    before = hook_steps.commands(here.scope, found, "before")
    yield from put_in_place(name, found, here.service, hooks.build_lines(here.scope), before)
    for process, wanted in running.items():
        yield from _units(here, process, wanted)
        if wanted.watchdog is not None:
            stopped = process in stops.names(stack, name, host)
            yield from watchdog(stack, host, name, process, wanted, stopped=stopped)
    yield from timers(here)
    yield from hook_steps.commands(here.scope, found, "after")
    yield proven(name, found)
    yield prune(name)


def _writable(here: Here) -> Iterator[Resource]:
    folders = {f"{data(here.name)}/{path}" for path in here.service.folders}
    above = {parent for folder in folders for parent in _parents(folder, data(here.name))} - folders
    for path in sorted(above):
        yield Directory(path=path)
    for path in sorted(folders):
        yield Directory(path=path, mode=0o750, owner=account(here.name), group=account(here.name))


def _parents(folder: str, root: str) -> Iterator[str]:
    parts = folder.removeprefix(root).strip("/").split("/")
    yield from ("/".join([root, *parts[:depth]]) for depth in range(len(parts)))


def _settings(here: Here) -> Iterator[Resource]:
    group = account(here.name)
    file = template(
        "app",
        "/etc/plainstack/app/{service}.env",
        at={"service": here.name},
        mode=0o640,
        group=group,
        variables=list(variables.variables(here.scope)),
        **here.known,
    )
    yield file
    yield replace(file, path=settings_ahead(here.name), ahead=True)
    secret_files = [name for name, secret in here.service.secrets.items() if secret.file]
    folder = f"{variables.FOLDER}/{here.name}"
    if secret_files or here.service.files:
        yield Directory(path=folder)
    yield from files.resources(here.scope, group)
    if secret_files:
        yield Directory(path=f"{folder}/secrets", mode=0o750, group=group)
    for name in secret_files:
        content = here.scope.secret(name).reveal().encode()
        path = variables.secret_path(here.name, name)
        # The build of a release starts the application, which may read the file.
        yield File(path=path, content=content, mode=0o640, group=group, secret=True, ahead=True)


def _gunicorn(here: Here) -> File:
    assert isinstance(here.service, DjangoService)
    return template(
        "app",
        "/etc/plainstack/app/{service}.gunicorn.py",
        at={"service": here.name},
        trusted=site.trusted_senders(here.stack, here.host),
        ports=here.ports(MAIN),
        **here.known,
    )


def _inputs(here: Here) -> tuple[str, ...]:
    """Return what every process of the service reads when it starts: files and the release."""
    secret = [variables.secret_path(here.name, name) for name, secret in here.service.secrets.items() if secret.file]
    own = [files.path(here.name, target) for target in here.service.files]
    return (settings(here.name), *secret, *own, f"release:{here.release.id}")


def _units(here: Here, process: str, wanted: Process) -> Iterator[Unit]:
    gunicorn = runs_gunicorn(here.stack, here.name) and process == MAIN
    static = isinstance(here.service, StaticService)
    own = (processes.gunicorn(here.name),) if gunicorn else (login(here.name), *PROGRAMS) if wanted.one else ()
    own = (processes.nginx(here.name),) if static else own
    page = health.script(here.stack, here.host, here.name, process, here.release.id) if wanted.health else ""
    # Only the shipped configurations are sure to bind the host's address.
    address = str(here.host.address) if gunicorn or static else ""
    stopped = process in stops.names(here.stack, here.name, here.host)
    for name in processes.units(here.name, process, wanted.count):
        yield Unit(
            name=name,
            enabled=not stopped,
            running=not stopped,
            restart_on=(*_inputs(here), *own),
            listens=(Listen(wanted.port, address=address),) if wanted.port is not None else (),
            health=page,
            timeout=wanted.start_timeout,
        )
