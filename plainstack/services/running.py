"""The hosts that run a service, and its systemd units on each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Process
from plainstack.inventory.stack import Stack
from plainstack.services import health, processes
from plainstack.services.places import home


def hosts(stack: Stack, service: str) -> list[Host]:
    """Return the hosts that run a service, in inventory order."""
    return processes.hosts(stack, service)


def units(stack: Stack, service: str, host: Host) -> list[str]:
    """Return the names of a service's units on a host; the first is the one whose environment `inv exec` uses."""
    running = dict(processes.here(stack, host)).get(service, {})
    found = [name for process, one in running.items() for name in processes.units(service, process, one.count)]
    found += watchdogs(stack, service, host)
    timers = stack.services[service].timers
    mine = [name for name, timer in timers.items() if host in processes.timer_hosts(stack, service, timer)]
    return found + [processes.unit(service, name) for name in mine]


def process_units(stack: Stack, service: str, host: Host, process: str = "") -> dict[str, str]:
    """Return the units of a service's processes on a host, or of one process, each with its process."""
    running = dict(processes.here(stack, host)).get(service, {})
    return {
        unit: name
        for name, one in running.items()
        if process in ("", name)
        for unit in processes.units(service, name, one.count)
    }


def watchdogs(stack: Stack, service: str, host: Host) -> list[str]:
    """Return the units of the watchdogs of a service's processes on a host."""
    running = dict(processes.here(stack, host)).get(service, {})
    return [watchdog_unit(service, name) for name in watched(running)]


def watchdog_unit(service: str, process: str) -> str:
    """Return the unit of a process's watchdog."""
    return f"plainstack-watchdog-{processes.upstream(service, process)}.service"


def current(service: str) -> str:
    """Return a script that prints the id of a service's release on a host as `release`."""
    return f"echo \"release=$(readlink {home(service)}/current | sed 's|.*/||')\""


def releases(stack: Stack) -> str:
    """Return a script that prints the id of the release of each service on a host, as facts."""
    return "".join(
        f"echo \"release.{service}=$(readlink {home(service)}/current | sed 's|.*/||')\"\n"
        for service in stack.services
    )


def healths(stack: Stack, service: str, host: Host, units: Mapping[str, str], release: str) -> dict[str, str]:
    """Return the health gate of each unit whose process has a health page, for the release that the host runs."""
    known = processes.processes(stack, service)
    return {
        unit: health.script(stack, host, service, process, release)
        for unit, process in units.items()
        if known[process].health is not None
    }


def all_units(stack: Stack) -> Mapping[str, Mapping[str, list[str]]]:
    """Return the units of every service, by service and host."""
    return {
        service: {host.name: units(stack, service, host) for host in hosts(stack, service)}
        for service in stack.services
    }


def twice(units: Iterable[str]) -> str:
    """Return a script that prints the state of units, and again two seconds later, with a line `=` between."""
    show = f"systemctl show -p Id -p ActiveState -p SubState -p MainPID -p NRestarts {' '.join(units)}"
    return f"{show}; sleep 2; echo =; {show}"


def idle(states: str) -> list[str]:
    """Return what is wrong with each unit that neither runs nor has ended well, from one of the outputs of `twice`."""
    return [
        f"{unit} is {shown.get('ActiveState')} ({shown.get('SubState')})"
        for unit, shown in _shown(states).items()
        if shown.get("SubState") not in ("running", "exited")
    ]


def changed(before: str, after: str) -> list[str]:
    """Return the units whose states differ in the two outputs of `twice`."""
    known = _shown(before)
    return [unit for unit, shown in _shown(after).items() if shown != known.get(unit)]


def _shown(states: str) -> dict[str, dict[str, str]]:
    """Return what `systemctl show` says, by unit; an empty line separates the units."""
    units = [dict(line.split("=", 1) for line in part.splitlines()) for part in states.strip().split("\n\n")]
    return {shown["Id"]: shown for shown in units if "Id" in shown}


def watched(running: Mapping[str, Process]) -> list[str]:
    """Return the names of the processes that have a watchdog."""
    return [name for name, process in running.items() if process.watchdog is not None]
