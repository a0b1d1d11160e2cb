"""The order in which app hosts get a release: one host first, then the others, one by one or in groups."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import Field

from plainstack.inventory.sections import Host, Model
from plainstack.inventory.stack import Stack
from plainstack.inventory.values import Int, Name
from plainstack.services import processes, stops
from plainstack.services.processes import ROLES
from plainstack.wording import Loc, did_you_mean

SETTLE = 6
"""The seconds after which the next host may change, whether or not all balancers use the previous one again."""

PATIENCE = 30
"""The seconds for which a host is not changed while the balancers use no other host of its services."""

_BALANCERS = "/etc/plainstack/balancer/upstreams"


class Rolling(Model):
    """How a release reaches the app hosts."""

    at_once: Int = Field(
        1, ge=1, description="How many hosts change at once; the first changes alone, and the others wait for it."
    )
    canary: Name | None = Field(
        None, description="The host that changes first; without it, the first in the inventory with the role app."
    )


def settings(stack: Stack) -> Rolling:
    """Return the settings of a stack."""
    return stack.given(Rolling) or Rolling()


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield the errors in the settings as (place, sentence) pairs."""
    rolling, known = settings(stack), [host.name for host in stack.with_role(ROLES[0])]
    if rolling.at_once > max(1, len(known)):
        count = f"{len(known)} host{'s have' if len(known) != 1 else ' has'} the role app"
        yield ("rolling", "at_once"), f"rolling.at_once: {rolling.at_once} are too many: {count}"
    if rolling.canary is not None and rolling.canary not in known:
        found = f"{rolling.canary} is no host with the role app{did_you_mean(rolling.canary, known)}"
        yield ("rolling", "canary"), f"rolling.canary: {found}; known: {', '.join(known) or 'none'}"


def ordered(stack: Stack, hosts: Collection[Host]) -> list[Host]:
    """Return hosts in the order of their turns: those of the first role before the others, and the canary first."""
    canary = settings(stack).canary
    # A host may have lost its roles since it was deployed.
    place = {"": 0, **{role: number for number, role in enumerate(ROLES)}}
    return sorted(hosts, key=lambda host: (place[processes.runner(host)], host.name != canary))


def groups(stack: Stack, names: Collection[str], at_once: int) -> Sequence[Sequence[str]]:
    """Return the hosts in groups that change one after another, at most `at_once` hosts in a group.

    A host is not in a group with others of a service if it is the first of that service, which migrates the database,
    or the last, if it runs a hook when all hosts have started the release.
    """
    found: list[list[str]] = []
    for host in ordered(stack, [stack.hosts[name] for name in names]):
        last = found[-1] if found else []
        if last and len(last) < at_once and not any(_apart(stack, host, stack.hosts[other]) for other in last):
            last.append(host.name)
        else:
            found.append([host.name])
    return found


def taken_again(stack: Stack, host: Host) -> Mapping[str, str]:
    """Return, for each balancer, the script that waits until it uses a host that has changed."""
    script = shlex.join([_BALANCERS, "taken", host.name, str(SETTLE)])
    return {balancer.name: script for balancer in stack.with_role("balancer")}


def another_taken(stack: Stack, host: Host, units: Collection[str], absent: Collection[str]) -> Mapping[str, str]:
    """Return, for each balancer, the script that tells whether it uses another host of the services of `units`.

    A service without any other host that should serve it is left out: there is nothing to wait for.
    """
    names = [
        one.name
        for one in processes.served(stack)
        if host in one.hosts
        and not (process := processes.processes(stack, one.service)[one.process]).one
        and not {*processes.units(one.service, one.process, process.count)}.isdisjoint(units)
        and any(other.name not in (host.name, *absent) for other in stops.served_by(stack, one))
    ]
    leaving = ",".join([host.name, *sorted(absent)])
    script = shlex.join([_BALANCERS, "spare", leaving, *names])
    return {balancer.name: script for balancer in stack.with_role("balancer")} if names else {}


def _apart(stack: Stack, one: Host, other: Host) -> bool:
    """Return whether two hosts must not change at the same time."""
    for name, service in stack.services.items():
        mine = ordered(stack, processes.hosts(stack, name))
        if one in mine and other in mine:
            ends = [mine[0]] + ([mine[-1]] if any(hook.once for hook in service.after.values()) else [])
            if one in ends or other in ends:
                return True
    return False
