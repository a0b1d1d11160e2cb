"""The supervisor of timers and of processes that run on one host at a time: it holds a lease while the command runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, Package, Resource
from plainstack.inventory.service_parts import Process, ServiceTimer
from plainstack.secrets.values import Secret
from plainstack.services.places import account
from plainstack.services.processes import upstream
from plainstack.services.variables import FOLDER, Scope, quoted

_PROGRAM = "/usr/local/lib/plainstack/one"
PROGRAMS = tuple(f"{_PROGRAM}/{name}.py" for name in ("__main__", "command", "database", "lease", "notify", "tick"))
# The references whose values become libpq's environment variables.
_LOGIN = {
    "PGHOST": "database.hosts",
    "PGPORT": "database.port",
    "PGDATABASE": "database.name",
    "PGUSER": "database.user",
    "PGPASSWORD": "database.password",
    "PGSSLROOTCERT": "database.ca",
}
REFERRED = tuple(_LOGIN.values())


def login(service: str) -> str:
    """Return the path of the file with the settings that a service's supervisors use to log in to the database."""
    return f"{FOLDER}/{service}.lease.env"


def supervised(service: str, process: str, wanted: Process, command: str) -> str:
    """Return the command of the unit: the supervisor, which runs `command` while it has the lease."""
    options = f"--lease {upstream(service, process)} --stop-signal {wanted.stop_signal}"
    return f"/usr/bin/python3 -I {_PROGRAM} {options} --stop-timeout {wanted.stop_timeout} -- {command}"


def at_its_times(service: str, name: str, timer: ServiceTimer, command: str) -> str:
    """Return the command of a timer's unit: the supervisor, which runs `command` unless another host has run it."""
    calendar = shlex.quote(timer.calendar.replace("%", "%%"))
    options = f"--lease {upstream(service, name)} --calendar {calendar} --limit {timer.timeout}"
    return f"/usr/bin/python3 -I {_PROGRAM} {options} -- {command}"


def supervisor(scope: Scope) -> Iterator[Resource]:
    """Yield what the supervisors of a service need on a host."""
    yield Package(name="python3-psycopg")
    yield Directory(path="/usr/local/lib/plainstack")
    yield Directory(path=_PROGRAM)
    yield from (verbatim("app", path) for path in PROGRAMS)
    yield template(
        "app",
        "/etc/plainstack/app/{service}.lease.env",
        at={"service": scope.service},
        mode=0o640,
        group=account(scope.service),
        host=scope.host,
        variables=[(name, _value(scope, reference)) for name, reference in _LOGIN.items()],
    )


def _value(scope: Scope, reference: str) -> str | Secret:
    value = quoted(scope.value(reference))
    return Secret(reference, value) if scope.provided[reference].secrets else value
