"""The unit files of a service on a host: those of its processes, and its timers with theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plainstack.engine.render import template
from plainstack.engine.resources import File, Resource, Timer
from plainstack.inventory.service_parts import Process
from plainstack.services import kinds, port_changes, processes, stops
from plainstack.services.here import Here
from plainstack.services.kinds import MAIN
from plainstack.services.places import account, data, home
from plainstack.services.port_changes import FORWARDER
from plainstack.services.processes import runs_gunicorn
from plainstack.services.single import at_its_times, supervised
from plainstack.services.variables import command

_SYSTEMD = "/etc/systemd/system"


def process_files(here: Here, process: str, wanted: Process) -> Iterator[File]:
    """Yield the unit file of a process, and its sandbox."""
    ports = here.ports(process)
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
        served=processes.upstream(here.name, process),
        forwarder=FORWARDER if port_changes.forwards(here, process) else "",
        account=account(here.name),
        home=home(here.name),
        search=_search(here),
        **here.known,
    )
    yield _sandbox(
        here, at, groups=wanted.one, capabilities="CAP_NET_BIND_SERVICE" if ports and min(ports) < 1024 else ""
    )


def _sandbox(here: Here, at: Mapping[str, str], *, groups: bool = False, capabilities: str = "") -> File:
    return template(
        "app",
        f"{_SYSTEMD}/{{unit}}.d/10-sandbox.conf",
        at=at,
        writable=[f"{data(here.name)}/{path}" for path in here.service.folders],
        capabilities=capabilities,
        groups=groups,
        **here.known,
    )


def _search(here: Here) -> str:
    own = [f"{home(here.name)}/current/venv/bin"] if kinds.of(here.service).requirements else []
    return ":".join([*own, f"{home(here.name)}/current/source", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"])


def timers(here: Here) -> Iterator[Resource]:
    """Yield the timers of a service on a host, with the units that they start."""
    for name, timer in here.timers.items():
        unit = processes.unit(here.name, name)
        moves = processes.moves(here.stack, here.name, timer)
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
