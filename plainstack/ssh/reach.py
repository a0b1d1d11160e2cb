"""All that connecting needs of an inventory, as a small value that can be kept and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class LogIn(Protocol):
    """How the operator logs in; see plainstack.inventory.stack.Ssh."""

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
    """One host: its name, and what is an address when it is printed."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> object: ...


class Reach(Protocol):
    """A stack, or what was kept of one."""

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
    """A LogIn."""

    user: str
    port: int
    key: Path | None
    gateway: str | None
    connect_timeout: int


@dataclass(frozen=True)
class KeptMachine:
    """A Machine."""

    name: str
    address: str


@dataclass(frozen=True)
class KeptReach:
    """A Reach that compares equal when connections would be made in the same way."""

    ssh: KeptLogIn
    hosts: Mapping[str, KeptMachine]
    folder: Path
    state: Path
    in_lab: bool
    lab_name: str

    @classmethod
    def of(cls, stack: Reach) -> KeptReach:
        """What there is of a stack."""
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
        """As JSON can hold it."""
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
        """Raises KeyError, TypeError or ValueError for what `as_data` did not make."""
        user, port, key, gateway, patience = data["ssh"]
        return cls(
            ssh=KeptLogIn(str(user), int(port), None if key is None else Path(key), gateway, int(patience)),
            hosts={str(name): KeptMachine(str(name), str(address)) for name, address in data["hosts"].items()},
            folder=Path(data["folder"]),
            state=Path(data["state"]),
            in_lab=bool(data["in_lab"]),
            lab_name=str(data["lab_name"]),
        )
