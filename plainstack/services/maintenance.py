"""Maintenance: which services the balancers have closed to visitors, and the scripts that close and open them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from plainstack.dataclass import dataclass
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services.processes import served

PROGRAM = "/etc/plainstack/balancer/maintenance"
PAGES = "/var/lib/plainstack-maintenance"
FACTS = f'[ ! -x "${{ROOT:-}}{PROGRAM}" ] || {{ echo maintenance=known; "${{ROOT:-}}{PROGRAM}" status; }}'
"""The script that prints which services a balancer has closed; without `maintenance=known` it cannot close any."""

SEEN = "sleep 1\n"
"""The script that returns when all workers act on a change: open_file_cache_valid in the balancers' configuration."""

MESSAGE = "We are working on this site. Please try again in a few minutes."
LONGEST = 500


@dataclass(frozen=True)
class Closed:
    """A service that a balancer has closed: the time, the operator, and the message for visitors."""

    since: str
    who: str
    message: str


def entrances(stack: Stack) -> list[Host]:
    """Return the hosts that can close services to visitors."""
    return stack.with_role("balancer")


def questions(stack: Stack) -> dict[str, str]:
    """Return FACTS for each host that can close services, by host."""
    return {host.name: FACTS for host in entrances(stack)}


def closable(stack: Stack) -> list[str]:
    """Return the services that visitors reach."""
    return list(dict.fromkeys(one.service for one in served(stack)))


def closed(facts: Mapping[str, str]) -> dict[str, Closed]:
    """Return the services that a balancer has closed, from what FACTS printed."""
    found = {}
    for key, value in facts.items():
        kind, _, service = key.partition(".")
        if kind == "maintenance" and service:
            since, who, message = [*value.split("\t", 2), "", "", ""][:3]
            found[service] = Closed(since, who, message)
    return found


def close(service: str, state: Closed) -> str:
    """Return a script that closes a service; if it is closed already, its message is replaced."""
    return f"{shlex.join([PROGRAM, 'on', service, state.since, state.who, state.message])}\n"


def open_again(service: str) -> str:
    """Return a script that opens a service to visitors again."""
    return f"{shlex.join([PROGRAM, 'off', service])}\n"


def problem_of(message: str) -> str:
    """Return what is wrong with a message for visitors; "" if nothing is."""
    if len(message) > LONGEST:
        return f"is longer than {LONGEST} characters"
    return "" if message.isprintable() else "must be one line of printable text"


@dataclass(frozen=True)
class Survey:
    """What the balancers say about maintenance, by host; None for a balancer that was not reached."""

    hosts: Mapping[str, Mapping[str, Closed] | None]

    @classmethod
    def of(cls, facts: Mapping[str, Mapping[str, str] | None]) -> Survey:
        """Return the survey of these facts, by balancer."""
        return cls({name: None if seen is None else closed(seen) for name, seen in facts.items()})

    @property
    def services(self) -> list[str]:
        """The services that at least one balancer has closed."""
        return list(dict.fromkeys(name for here in self.hosts.values() for name in here or ()))

    def first(self, service: str) -> Closed | None:
        """Return the state of a service on the balancer that closed it first."""
        found = [here[service] for here in self.hosts.values() if here and service in here]
        return min(found, key=lambda one: one.since, default=None)

    def without(self, service: str) -> list[str]:
        """Return the balancers that were reached and have not closed a service."""
        return [name for name, here in self.hosts.items() if here is not None and service not in here]

    def on(self, service: str) -> list[str]:
        """Return the balancers that have closed a service."""
        return [name for name, here in self.hosts.items() if here is not None and service in here]

    def sentence(self, service: str) -> str:
        """Return the sentence about a service in maintenance."""
        first = self.first(service)
        return f"{service}: in maintenance since {first.since} by {first.who}: {first.message}" if first else ""

    def notes(self) -> Iterator[tuple[str, str]]:
        """Yield each balancer and a sentence for each service that it has closed."""
        yield from ((name, self.sentence(service)) for service in self.services for name in self.on(service))

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield a balancer and a sentence for each service that only other balancers have closed."""
        for service in self.services:
            others, again = ", ".join(self.on(service)), f"inv maintenance on (or off) --service={service}"
            for name in self.without(service):
                yield name, f"{service} is in maintenance on {others}, but not here. Make them the same: {again}"
