"""What the backup host needs to restore: PostgreSQL's server, the program that runs it, and its unit."""

from __future__ import annotations

import json
from collections.abc import Iterator

from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, File, Package, Resource
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.postgresql.backup import barman
from plainstack.postgresql.layout import BIN, VERSION
from plainstack.postgresql.restore import scratch

UNIT = "plainstack-scratch@.service"
_SYSTEM = "/etc/systemd/system"


def restoring(stack: Stack, network: Network) -> Iterator[Resource]:
    """Yield the resources of the backup host for scratch clusters."""
    # Early: without this file, the package would create a cluster. The db hosts have the same file.
    yield verbatim("db", "/etc/postgresql-common/createcluster.d/plainstack.conf", early=True)
    yield Package(name=f"postgresql-{VERSION}")
    # Barman restores with it, also on the same host.
    yield Package(name="rsync")
    yield Directory(path="/usr/local/lib/plainstack")
    yield Directory(path=scratch.PROGRAM)
    yield from (verbatim("backup", f"{scratch.PROGRAM}/{name}.py") for name in scratch.MODULES)
    yield Directory(path=scratch.FOLDER, mode=0o700, owner="barman", group="barman")
    known = {
        "server": barman.server(stack),
        "barman": barman.HOME,
        "scratch": scratch.FOLDER,
        "requests": scratch.REQUESTS,
        "bin": BIN,
        "tls": TLS,
        "port": scratch.PORT,
        "readers": {host.name: str(host.address) for host in network.users("backup.restored")},
    }
    yield File(path=scratch.CONFIG, content=f"{json.dumps(known, indent=4)}\n".encode())
    yield template("backup", f"{_SYSTEM}/{UNIT}", program=scratch.PROGRAM)
    yield template("backup", f"{_SYSTEM}/{{service}}.d/10-hardening.conf", at={"service": UNIT})
