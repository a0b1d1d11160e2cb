"""The watchdog of a process: it restarts the process if it runs but its health page has stopped answering."""

from __future__ import annotations

import math
from collections.abc import Iterator

from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, Resource, Unit
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Process
from plainstack.inventory.stack import Stack
from plainstack.services import processes, routing, site

_PROGRAM = "/usr/local/lib/plainstack/watchdog"


def watchdog(
    stack: Stack, host: Host, service: str, process: str, wanted: Process, *, stopped: bool = False
) -> Iterator[Resource]:
    """Yield the resources of a process's watchdog on a host; it is stopped together with the process."""
    assert wanted.watchdog is not None
    assert wanted.port is not None
    page = wanted.check
    assert page is not None
    known_as = routing.health_host(stack, service, process)
    request = site.of_service(stack, host, wanted.port, page.path, known_as).curl()
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
        failures=failures(stack, host, service, wanted),
        # systemd's quoting: a percent sign and a dollar sign would be expanded.
        request=" ".join(_quoted(word) for word in request),
    )
    yield Unit(name=file.rpartition("/")[2], restart_on=(_PROGRAM,), enabled=not stopped, running=not stopped)


def failures(stack: Stack, host: Host, service: str, wanted: Process) -> int:
    """Return how many checks must fail before the watchdog on `host` restarts the process.

    Each further host waits for one more start-up. So a fault on all hosts, such as an unreachable database, never takes
    two of them down at the same time.
    """
    assert wanted.watchdog is not None
    before = processes.hosts(stack, service, wanted).index(host)
    start_up = math.ceil((wanted.watchdog.startup + wanted.watchdog.interval) / wanted.watchdog.interval)
    return wanted.watchdog.failures + before * start_up


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
