"""What the backup host needs to restore: PostgreSQL's server, the program that runs it, and its unit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from shlex import quote

from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, File, Package, Resource, Unit, Validation
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.postgresql.backup import barman
from plainstack.postgresql.layout import BIN, VERSION
from plainstack.postgresql.restore import scratch
from plainstack.postgresql.settings import NEVER, Backup, Database

_UNITS = ("plainstack-scratch@.service", "plainstack-restore-test.service")
TIMER = "plainstack-restore-test.timer"
COPY_TIMER = "plainstack-restore-test-copy.timer"
_SYSTEM = "/etc/systemd/system"


def restoring(stack: Stack, network: Network) -> Iterator[Resource]:
    """Yield the resources of the backup host for scratch clusters."""
    # Early: without this file, the package would create a cluster. The db hosts have the same file.
    yield verbatim("db", "/etc/postgresql-common/createcluster.d/plainstack.conf", early=True)
    yield Package(name=f"postgresql-{VERSION}")
    # Barman needs it to restore, even on the same host.
    yield Package(name="rsync")
    yield Directory(path="/usr/local/lib/plainstack")
    yield Directory(path=scratch.PROGRAM)
    yield from (verbatim("backup", f"{scratch.PROGRAM}/{name}.py") for name in scratch.MODULES)
    yield Directory(path=scratch.FOLDER, mode=0o700, owner="barman", group="barman")
    for folder in (scratch.RECORDS, scratch.TESTS):
        yield Directory(path=folder, owner="barman", group="barman")
    known = {
        "server": barman.server(stack),
        "barman": barman.HOME,
        "scratch": scratch.FOLDER,
        "requests": scratch.REQUESTS,
        "bin": BIN,
        "tls": TLS,
        "records": f"{scratch.SEEN}/records",
        "tests": f"{scratch.SEEN}/tests",
        "port": scratch.PORT,
        "database": stack.settings(Database).name,
        "readers": {host.name: str(host.address) for host in network.users("backup.restored")},
    }
    yield File(path=scratch.CONFIG, content=f"{json.dumps(known, indent=4)}\n".encode())
    for unit in _UNITS:
        yield template("backup", f"{_SYSTEM}/{unit}", program=scratch.PROGRAM, requests=scratch.REQUESTS)
        yield template("backup", f"{_SYSTEM}/{{service}}.d/10-hardening.conf", at={"service": unit})


def testing(stack: Stack) -> Iterator[Resource]:
    """Yield the timers of the restore tests: of the backups, and of their second copy."""
    settings = stack.settings(Backup)
    yield from _timer(TIMER, settings.restore_test, "backup.restore_test")
    if copy := settings.second_copy:
        yield from _timer(COPY_TIMER, copy.restore_test, "backup.second_copy.restore_test")


def _timer(name: str, calendar: str, key: str) -> Iterator[Resource]:
    if calendar == NEVER:
        return
    path = f"{_SYSTEM}/{name}"
    yield template("backup", path, calendar=calendar)
    yield Validation(name=key, run=f"systemd-analyze calendar {quote(calendar)}", reads=(path,))
    yield Unit(name=name)
