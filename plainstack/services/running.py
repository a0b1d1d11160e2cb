"""Where a service runs, and the systemd units that run it there."""

from __future__ import annotations

from collections.abc import Mapping

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack


def hosts(stack: Stack, service: str) -> list[Host]:
    """The hosts that run a service, in inventory order."""
    assert service in stack.services
    return stack.with_role("app")


def units(_stack: Stack, service: str, _host: Host) -> list[str]:
    """The names of a service's units on a host; the first is the one whose environment `inv exec` uses."""
    return [f"plainstack-{service}.service"]


def all_units(stack: Stack) -> Mapping[str, Mapping[str, list[str]]]:
    """The units of every service, by service and host."""
    return {
        service: {host.name: units(stack, service, host) for host in hosts(stack, service)}
        for service in stack.services
    }
