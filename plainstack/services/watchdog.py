"""The watchdog of a process: it restarts the process if it runs but its health page has stopped answering.

Before that, it asks the other hosts of the process: a fault that they share must not take all of them down at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, Resource, Unit
from plainstack.engine.role import Opening
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Process
from plainstack.inventory.stack import Stack
from plainstack.services import processes, site

_PROGRAM = "/usr/local/lib/plainstack/watchdog"


def watchdog(
    stack: Stack, host: Host, service: str, process: str, wanted: Process, *, stopped: bool = False
) -> Iterator[Resource]:
    """Yield the resources of a process's watchdog on a host; it is stopped together with the process."""
    assert wanted.watchdog is not None
    assert wanted.port is not None
    page = wanted.check
    assert page is not None
    known_as = site.health_host(stack, service, process)
    everywhere = processes.hosts(stack, service, wanted)
    asked = {each.name: site.of_service(stack, each, wanted.port, page.path, known_as) for each in everywhere}
    own = asked.pop(host.name)
    file = f"/etc/systemd/system/plainstack-watchdog-{processes.upstream(service, process)}.service"
    yield Directory(path="/usr/local/lib/plainstack")
    yield verbatim("app", _PROGRAM, mode=0o755)
    yield template(
        "app",
        "/etc/systemd/system/plainstack-watchdog-{process}.service",
        at={"process": processes.upstream(service, process)},
        host=host,
        unit=processes.unit(service, process),
        watchdog=wanted.watchdog,
        statuses=",".join(page.statuses),
        # systemd's quoting: a percent sign and a dollar sign would be expanded.
        request=" ".join(
            _quoted(word) for word in (own.url, " ".join(peer.url for peer in asked.values()), *own.curl()[:-1])
        ),
        place=everywhere.index(host),
    )
    yield Unit(name=file.rpartition("/")[2], restart_on=(_PROGRAM,), enabled=not stopped, running=not stopped)


def peers(stack: Stack, host: Host, service: str, process: Process) -> list[Host]:
    """Return the other hosts of a process that the watchdog on `host` asks; none if the process has no watchdog."""
    found = [] if process.watchdog is None else processes.hosts(stack, service, process)
    return [each for each in found if each != host] if host in found else []


def opens(stack: Stack, host: Host) -> Iterator[Opening]:
    """Open the port of each process with a watchdog to the watchdogs of its other hosts."""
    for service, running in processes.here(stack, host):
        for name, process in running.items():
            sources = tuple(str(peer.address) for peer in peers(stack, host, service, process))
            if sources and process.port is not None:
                why = f"{processes.upstream(service, name)}, from the watchdogs of its other hosts"
                for port in (process.port, *stack.still.ports.get(processes.upstream(service, name), ())):
                    yield Opening("watched", port, "tcp", why, sources)


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
