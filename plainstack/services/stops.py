"""Stopped processes and timers: a hold that `inv stop` records on the hosts of their service, until `inv start`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import astuple

from plainstack.dataclass import dataclass
from plainstack.engine.resources import File, Timer, Unit
from plainstack.inventory.held import Stopped, later
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import processes, running
from plainstack.services.processes import Served
from plainstack.services.variables import FOLDER

Part = tuple[str, str]
"""The name of a process or timer, and a host."""


@dataclass(frozen=True)
class Stop:
    """A process or timer that was stopped on a host: the time and the operator."""

    name: str
    host: str
    at: str
    who: str

    @classmethod
    def parse(cls, item: str) -> Stop:
        """Return the stop that `item` describes."""
        return cls(*[*item.split(",", 3), "", "", ""][:4])

    @property
    def item(self) -> str:
        """The stop as a word of a hold."""
        return ",".join("_".join(value.split()) for value in astuple(self))


def parts(stack: Stack, service: str) -> list[Part]:
    """Return every process and timer of a service, on each of its hosts."""
    found = [
        (name, host.name)
        for name, process in processes.processes(stack, service).items()
        for host in processes.hosts(stack, service, process)
    ]
    timers = stack.services[service].timers.items()
    return found + [(name, host.name) for name, one in timers for host in processes.timer_hosts(stack, service, one)]


def stops(stack: Stack, service: str) -> list[Stop]:
    """Return the stopped processes and timers of a service."""
    hold = stack.held.stopped.get(service)
    return [Stop.parse(item) for item in hold.items] if hold else []


def names(stack: Stack, service: str, host: Host) -> set[str]:
    """Return the names of the processes and timers of a service that are stopped on a host."""
    return {one.name for one in stops(stack, service) if one.host == host.name}


def units_on(stack: Stack, host: Host) -> list[str]:
    """Return the names of the units of all processes that should run on a host."""
    return [
        unit
        for service, started in processes.here(stack, host)
        for name, process in started.items()
        if name not in names(stack, service, host)
        for unit in processes.units(service, name, process.count)
    ]


def started_by_timers(stack: Stack, host: Host) -> list[str]:
    """Return the names of the units that the timers of a host start; stopped timers are left out."""
    return [
        processes.unit(service, name)
        for service, settings in stack.services.items()
        for name, timer in settings.timers.items()
        if host in processes.timer_hosts(stack, service, timer) and name not in names(stack, service, host)
    ]


def served_by(stack: Stack, one: Served) -> list[Host]:
    """Return the hosts on which a served process is not stopped."""
    return [host for host in one.hosts if one.process not in names(stack, one.service, host)]


def stop(service: str, chosen: Collection[Part], at: str, who: str) -> Callable[[Stack], Stack]:
    """Return a function that stops parts of a service in a stack; parts that are already stopped do not change."""

    def change(stack: Stack) -> Stack:
        before = stops(stack, service)
        known = {(one.name, one.host) for one in before}
        new = [Stop(name, host, at, who) for name, host in chosen if (name, host) not in known]
        return _with(stack, service, [*before, *new], at, who) if new else stack

    return change


def start(service: str, chosen: Collection[Part], at: str, who: str) -> Callable[[Stack], Stack]:
    """Return a function that starts parts of a service in a stack again."""

    def change(stack: Stack) -> Stack:
        before = stops(stack, service)
        # What the inventory no longer has cannot be started: its record ends too.
        left = [one for one in before if (one.name, one.host) in {*parts(stack, service)} - {*chosen}]
        return _with(stack, service, left, at, who) if left != before else stack

    return change


def _with(stack: Stack, service: str, wanted: list[Stop], at: str, who: str) -> Stack:
    hold = Stopped(at=later(at, stack.held.stopped.get(service)), who=who, items=tuple(one.item for one in wanted))
    stopped = {**stack.held.stopped, service: hold}
    if not wanted and len(processes.hosts(stack, service)) == 1:
        # There is no other host whose older hold it must replace.
        del stopped[service]
    return stack.model_copy(update={"held": stack.held.model_copy(update={"stopped": stopped})})


def keys(stack: Stack, service: str) -> frozenset[str]:
    """Return the keys of the resources that a stop or start changes on any host of a service."""
    units = {
        unit
        for host in processes.hosts(stack, service)
        for unit in (*running.process_units(stack, service, host), *running.watchdogs(stack, service, host))
    }
    timers = [processes.unit(service, name).replace(".service", ".timer") for name in stack.services[service].timers]
    return frozenset(
        [
            *(Unit(name=name).key for name in units),
            *(Timer(name=name, calendar="").key for name in timers),
            File(path=f"{FOLDER}/{service}.stopped", content=b"").key,
        ]
    )


def sentences(stack: Stack) -> Iterator[tuple[str, str]]:
    """Yield each host, and a sentence for each part of a service that is stopped there."""
    for service in stack.held.stopped:
        there = {*parts(stack, service)} if service in stack.services else set()
        found = [one for one in stops(stack, service) if (one.name, one.host) in there]
        for one in found:
            where = [each.host for each in found if (each.name, each.at, each.who) == (one.name, one.at, one.who)]
            until = f"a deploy does not start it: inv start {service}"
            yield (
                one.host,
                f"{service}: {one.name} is stopped on {', '.join(where)} since {one.at} by {one.who}; {until}",
            )


def leases(stack: Stack) -> dict[str, bool]:
    """Return the leases of a stack, as plainstack.services.processes does; those of stopped parts need no holder."""
    found = processes.leases(stack)
    for service in stack.held.stopped:
        for name, process in processes.processes(stack, service).items() if service in stack.services else ():
            if all(name in names(stack, service, host) for host in processes.hosts(stack, service, process)):
                found |= {one: False for one in found if one == processes.upstream(service, name)}
    return found
