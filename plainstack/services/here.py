"""A service on a host, as the functions that yield its resources see it."""

from __future__ import annotations

from typing import Any

from plainstack.dataclass import dataclass
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import ServiceTimer
from plainstack.inventory.services import Service
from plainstack.inventory.stack import Stack
from plainstack.services import processes
from plainstack.services.release import Release
from plainstack.services.variables import Scope


@dataclass(frozen=True)
class Here:
    """A service on a host."""

    stack: Stack
    host: Host
    name: str
    release: Release
    scope: Scope

    @property
    def service(self) -> Service:
        return self.stack.services[self.name]

    @property
    def known(self) -> dict[str, Any]:
        """The variables that every template of a service can use."""
        return {"stack": self.stack, "host": self.host, "name": self.name, "service": self.service}

    def ports(self, process: str) -> tuple[int, ...]:
        """Return the port of a process, then those that it still serves for a while."""
        wanted = processes.processes(self.stack, self.name)[process]
        still = self.stack.still.ports.get(processes.upstream(self.name, process), ())
        return (wanted.port, *still) if wanted.port is not None else ()

    @property
    def timers(self) -> dict[str, ServiceTimer]:
        """The timers that start on the host, by name."""
        timers = self.service.timers
        return {
            name: timer
            for name, timer in timers.items()
            if self.host in processes.timer_hosts(self.stack, self.name, timer)
        }
