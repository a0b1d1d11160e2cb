"""The resources of a service on a host: account, settings, release, and the units of its processes and timers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from plainstack.engine.network import Network
from plainstack.engine.render import template
from plainstack.engine.resources import Directory, File, Listen, Package, Resource, Timer, Unit, User
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Process, ServiceTimer
from plainstack.inventory.services import DjangoService, Service, StaticService
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.services import (
    files,
    health,
    holds,
    hook_steps,
    hooks,
    kinds,
    package_units,
    processes,
    release,
    site,
    static_files,
    stops,
    variables,
)
from plainstack.services.kinds import MAIN
from plainstack.services.places import LAYOUT, account, data, home, settings, settings_ahead
from plainstack.services.processes import runs_gunicorn
from plainstack.services.release import Release
from plainstack.services.release_steps import prune, put_in_place
from plainstack.services.single import PROGRAMS, at_its_times, login, supervised, supervisor
from plainstack.services.variables import Scope, command
from plainstack.services.watchdog import watchdog

_SYSTEMD = "/etc/systemd/system"


@dataclass(frozen=True)
class _Here:
    """A service on a host."""

    stack: Stack
    host: Host
    name: str
    release: Release
    scope: Scope

    @property
    def service(self) -> Service:
        return self.stack.services[self.name]

    @property
    def known(self) -> dict[str, Any]:
        """The variables that every template of a service can use."""
        return {"stack": self.stack, "host": self.host, "name": self.name, "service": self.service}


def resources(
    stack: Stack, host: Host, vault: Vault, network: Network, name: str, running: Mapping[str, Process]
) -> Iterator[Resource]:
    """Yield the resources of a service on a host; `running` are the processes that the host runs."""
    found = network.once(f"release {name}", lambda: release.wanted(stack, name))
    here = _Here(stack, host, name, found, Scope(stack, host, name, found.id, vault, network.references()))
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
        yield from static_files.configuration(stack, host, name, found.id, _ports(here, MAIN))
    if any(wanted.one for wanted in running.values()) or any(_moves(here, timer) for timer in _mine(here).values()):
        yield from supervisor(here.scope)
    for process, wanted in running.items():
        yield from _unit_files(here, process, wanted)
    before = hook_steps.commands(here.scope, found, "before")
    yield from put_in_place(name, found, here.service, hooks.build_lines(here.scope), before)
    for process, wanted in running.items():
        yield from _units(here, process, wanted)
        if wanted.watchdog is not None:
            stopped = process in stops.names(stack, name, host)
            yield from watchdog(stack, host, name, process, wanted, stopped=stopped)
    yield from _timers(here)
    yield from hook_steps.commands(here.scope, found, "after")
    yield prune(name)


def _writable(here: _Here) -> Iterator[Resource]:
    folders = {f"{data(here.name)}/{path}" for path in here.service.folders}
    above = {parent for folder in folders for parent in _parents(folder, data(here.name))} - folders
    for path in sorted(above):
        yield Directory(path=path)
    for path in sorted(folders):
        yield Directory(path=path, mode=0o750, owner=account(here.name), group=account(here.name))


def _parents(folder: str, root: str) -> Iterator[str]:
    parts = folder.removeprefix(root).strip("/").split("/")
    yield from ("/".join([root, *parts[:depth]]) for depth in range(len(parts)))


def _settings(here: _Here) -> Iterator[Resource]:
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


def _gunicorn(here: _Here) -> File:
    assert isinstance(here.service, DjangoService)
    return template(
        "app",
        "/etc/plainstack/app/{service}.gunicorn.py",
        at={"service": here.name},
        trusted=site.trusted_senders(here.stack, here.host),
        ports=_ports(here, MAIN),
        **here.known,
    )


def _ports(here: _Here, process: str) -> tuple[int, ...]:
    wanted = processes.processes(here.stack, here.name)[process]
    still = here.stack.still.ports.get(processes.upstream(here.name, process), ())
    return (wanted.port, *still) if wanted.port is not None else ()


def _unit_files(here: _Here, process: str, wanted: Process) -> Iterator[File]:
    ports = _ports(here, process)
    own = {"port": str(wanted.port or ""), "number": "%i"}
    # %i is for systemd; every other % is taken literally.
    line = command(wanted.command, lambda name: "\0" if name == "number" else own.get(name) or here.scope.value(name))
    at = {"unit": processes.unit_file(here.name, process, wanted.count)}
    yield template(
        "app",
        f"{_SYSTEMD}/{{unit}}",
        at=at,
        process=process,
        wanted=wanted,
        command=supervised(here.name, process, wanted, line) if wanted.one else line.replace("\0", "%i"),
        notify=wanted.one or (runs_gunicorn(here.stack, here.name) and process == MAIN),
        ports=ports,
        account=account(here.name),
        home=home(here.name),
        search=_search(here),
        **here.known,
    )
    yield _sandbox(
        here, at, groups=wanted.one, capabilities="CAP_NET_BIND_SERVICE" if ports and min(ports) < 1024 else ""
    )


def _sandbox(here: _Here, at: Mapping[str, str], *, groups: bool = False, capabilities: str = "") -> File:
    return template(
        "app",
        f"{_SYSTEMD}/{{unit}}.d/10-sandbox.conf",
        at=at,
        writable=[f"{data(here.name)}/{path}" for path in here.service.folders],
        capabilities=capabilities,
        groups=groups,
        **here.known,
    )


def _search(here: _Here) -> str:
    own = [f"{home(here.name)}/current/venv/bin"] if kinds.of(here.service).requirements else []
    return ":".join([*own, f"{home(here.name)}/current/source", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"])


def _inputs(here: _Here) -> tuple[str, ...]:
    """Return what every process of the service reads when it starts: files and the release."""
    secret = [variables.secret_path(here.name, name) for name, secret in here.service.secrets.items() if secret.file]
    own = [files.path(here.name, target) for target in here.service.files]
    return (settings(here.name), *secret, *own, f"release:{here.release.id}")


def _units(here: _Here, process: str, wanted: Process) -> Iterator[Unit]:
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


def _mine(here: _Here) -> dict[str, ServiceTimer]:
    """Return the timers that start on this host, by name."""
    timers = here.service.timers
    return {
        name: timer
        for name, timer in timers.items()
        if here.host in processes.timer_hosts(here.stack, here.name, timer)
    }


def _moves(here: _Here, timer: ServiceTimer) -> bool:
    return processes.moves(here.stack, here.name, timer)


def _timers(here: _Here) -> Iterator[Resource]:
    for name, timer in _mine(here).items():
        unit = processes.unit(here.name, name)
        moves = _moves(here, timer)
        line = command(timer.command, here.scope.value)
        yield template(
            "app",
            f"{_SYSTEMD}/plainstack-{{timer}}.service",
            at={"timer": f"{here.name}-{name}"},
            timer=name,
            wanted=timer,
            moves=moves,
            command=at_its_times(here.name, name, timer, line) if moves else line,
            account=account(here.name),
            home=home(here.name),
            search=_search(here),
            **here.known,
        )
        yield _sandbox(here, {"unit": unit}, groups=moves)
        # With a random delay per host, the hosts would only wait for each other.
        accuracy = 1 if moves else 60
        if name in stops.names(here.stack, here.name, here.host):
            continue
        yield Timer(name=unit.replace(".service", ".timer"), calendar=timer.calendar, unit=unit, accuracy=accuracy)
