"""Folders of services that are backed up, and how their hosts show them to the backup host.

The program files/backup/usr/local/lib/plainstack/folders answers the backup host over TLS, and checks its certificate.
Its rsync may read each of these folders, and may write only into a folder that a restore has prepared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.engine.network import Network
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, Package, Resource, Unit, User
from plainstack.engine.role import Opening
from plainstack.inventory import port_numbers
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Writable
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.services.places import account, data
from plainstack.services.processes import hosts, runner

PORT = port_numbers.FOLDERS
OFFER = "files"
PROGRAM = "/usr/local/lib/plainstack/folders"
MODULES = ("__main__", "channel", "exchange", "folder_verbs", "gathering", "snapshots")
# The account that answers. The program's module exchange names it too, and the folder STAGE.
ACCOUNT = "plainstack-files"
# The folder, below the data of a service, in which restores prepare files and put old ones aside.
STAGE = ".plainstack-files"
_SYSTEM = "/etc/systemd/system"
_SOCKET, _SERVICE = "plainstack-files.socket", "plainstack-files@.service"


@dataclass(frozen=True)
class Kept:
    """A folder of a service on one of its hosts that is backed up; each host has its own files."""

    service: str
    folder: str
    host: str

    @property
    def key(self) -> str:
        return f"{self.service}/{self.folder}"

    @property
    def says(self) -> str:
        return f"{self.key} of {self.host}"

    @property
    def data(self) -> str:
        return data(self.service)

    @property
    def stage(self) -> str:
        """Where restores of the folder work, and keep what they have replaced."""
        return f"{self.data}/{STAGE}/{self.folder.replace('/', '+')}"

    @property
    def account(self) -> str:
        return account(self.service)


def kept(stack: Stack) -> tuple[Kept, ...]:
    """Return the folders that are backed up, by service and host."""
    return tuple(
        Kept(name, folder.path, host.name)
        for name, service in stack.services.items()
        for folder in service.writable
        if isinstance(folder, Writable) and folder.backup
        for host in hosts(stack, name)
    )


def kept_on(stack: Stack, host: Host) -> list[Kept]:
    """Return the folders of a host that are backed up."""
    return [one for one in kept(stack) if one.host == host.name]


def opens(stack: Stack, host: Host, role: str) -> Iterator[Opening]:
    """Yield the port of a host with such folders, if `role` is the role that runs its services."""
    if kept_on(stack, host) and runner(host) == role:
        yield Opening(OFFER, PORT, "tcp", "files of services: {user}")


def program() -> Iterator[Resource]:
    """Yield the program of both sides."""
    yield Directory(path="/usr/local/lib/plainstack")
    yield Directory(path=PROGRAM)
    yield from (verbatim("backup", f"{PROGRAM}/{name}.py") for name in MODULES)


def answering(stack: Stack, host: Host, network: Network) -> Iterator[Resource]:
    """Yield the resources of a host that shows its folders to the backup host; none if it has no such folders."""
    mine = kept_on(stack, host)
    if not mine:
        return
    yield Package(name="rsync")
    yield from program()
    yield User(name=ACCOUNT)
    admitted = [peer.name for peer in network.users(f"{runner(host)}.{OFFER}")]
    known: dict[str, Any] = {"host": host, "port": PORT, "folders": mine, "admitted": admitted, "tls": TLS}
    stages = sorted({f"{one.data}/{STAGE}" for one in mine})
    for unit in (_SOCKET, _SERVICE):
        yield template("app", f"{_SYSTEM}/{unit}", program=PROGRAM, account=ACCOUNT, stages=stages, **known)
    yield Unit(name=_SOCKET)
