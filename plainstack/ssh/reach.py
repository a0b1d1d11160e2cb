"""The part of an inventory that connecting needs, as a small value that can be stored and compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from plainstack.dataclass import dataclass


class LogIn(Protocol):
    """How to log in; see plainstack.inventory.sections.Ssh."""

    @property
    def user(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def key(self) -> Path | None: ...
    @property
    def gateway(self) -> str | None: ...
    @property
    def connect_timeout(self) -> int: ...


class Machine(Protocol):
    """A host: its name, and its address, which is used as str(address)."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> object: ...


class Reach(Protocol):
    """The part of a stack that connecting needs; Stack and KeptReach both have it."""

    @property
    def ssh(self) -> LogIn: ...
    @property
    def hosts(self) -> Mapping[str, Machine]: ...
    @property
    def folder(self) -> Path: ...
    @property
    def state(self) -> Path: ...
    @property
    def in_lab(self) -> bool: ...
    @property
    def lab_name(self) -> str: ...


@dataclass(frozen=True)
class KeptLogIn:
    """A LogIn that can be stored."""

    user: str
    port: int
    key: Path | None
    gateway: str | None
    connect_timeout: int


@dataclass(frozen=True)
class KeptMachine:
    """A Machine that can be stored."""

    name: str
    address: str


@dataclass(frozen=True)
class KeptReach:
    """A Reach that can be stored; two are equal if they lead to the same connections."""

    ssh: KeptLogIn
    hosts: Mapping[str, KeptMachine]
    folder: Path
    state: Path
    in_lab: bool
    lab_name: str

    @classmethod
    def of(cls, stack: Reach) -> KeptReach:
        """Copy the part of a stack that connecting needs."""
        ssh = stack.ssh
        return cls(
            ssh=KeptLogIn(ssh.user, ssh.port, ssh.key, ssh.gateway, ssh.connect_timeout),
            hosts={name: KeptMachine(host.name, str(host.address)) for name, host in stack.hosts.items()},
            folder=stack.folder,
            state=stack.state,
            in_lab=stack.in_lab,
            lab_name=stack.lab_name,
        )

    def as_data(self) -> dict[str, Any]:
        """Return the value as JSON data."""
        key = None if self.ssh.key is None else str(self.ssh.key)
        return {
            "ssh": [self.ssh.user, self.ssh.port, key, self.ssh.gateway, self.ssh.connect_timeout],
            "hosts": {name: host.address for name, host in self.hosts.items()},
            "folder": str(self.folder),
            "state": str(self.state),
            "in_lab": self.in_lab,
            "lab_name": self.lab_name,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> KeptReach:
        """Return the value that `as_data` wrote. Raises KeyError, TypeError or ValueError for any other data."""
        user, port, key, gateway, patience = data["ssh"]
        return cls(
            ssh=KeptLogIn(str(user), int(port), None if key is None else Path(key), gateway, int(patience)),
            hosts={str(name): KeptMachine(str(name), str(address)) for name, address in data["hosts"].items()},
            folder=Path(data["folder"]),
            state=Path(data["state"]),
            in_lab=bool(data["in_lab"]),
            lab_name=str(data["lab_name"]),
        )
