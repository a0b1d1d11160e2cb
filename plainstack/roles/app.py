"""App hosts: hosts that run the processes of services, most of which serve HTTP to the balancers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from plainstack.engine.network import Network
from plainstack.engine.observed import Observed
from plainstack.engine.resources import Directory, Package, Resource
from plainstack.engine.role import Finding, HostWork, Leftover, Opening, Role, Settle, Spare
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import Target
from plainstack.secrets.values import Vault
from plainstack.services import (
    asset_files,
    asset_hosts,
    calendars,
    folders,
    holds,
    hook_hosts,
    lease,
    port_changes,
    pythons,
    release_check,
    rolling,
    static_files,
    watchdog,
)
from plainstack.services.places import data
from plainstack.services.processes import here, hosts, placed, ports, served, timer_hosts
from plainstack.services.resources import resources
from plainstack.services.rolling import PATIENCE, SETTLE, another_taken, taken_again
from plainstack.services.secrets import declared, referred
from plainstack.services.validation import contradictions, one_host_each
from plainstack.wording import Loc


def desired(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of a host that runs services: an account, a release and units for each service."""
    yield Package(name="python3")
    yield Package(name="python3-pip-whl")
    yield Package(name="curl")
    # for HTTPS requests that an application makes
    yield Package(name="ca-certificates")
    yield Directory(path="/etc/plainstack/app")
    yield from static_files.program(stack, host)
    for name, running in here(stack, host):
        yield from resources(stack, host, vault, network, name, running)
    yield from folders.answering(stack, host, network)


def opens(stack: Stack, host: Host) -> Iterable[Opening]:
    """Open the ports of processes to the balancers and to watchdogs, and that of the folders to the backup host."""
    for one in served(stack):
        if host in one.hosts:
            for port in ports(stack, one):
                yield Opening("http", port, "tcp", f"{one.name}, from the balancers")
    yield from watchdog.opens(stack, host)
    yield from folders.opens(stack, host, "app")


def probe_facts(stack: Stack, host: Host) -> str:
    """Return the script that prints the host's architecture, which selects wheels, and the ports that it serves."""
    lines = ['echo "arch=$(uname -m)"']
    lines += port_changes.facts(stack)
    lines.append(holds.facts())
    lines += hook_hosts.facts(stack)
    lines += asset_hosts.running(stack)
    return "\n".join([*lines, *pythons.facts(stack), *calendars.facts(stack, host)])


def transition(stack: Stack, observed: Mapping[str, Observed]) -> Stack:
    """Let every service keep listening on the ports that its hosts serve now, in addition to the new one."""
    still = port_changes.still(stack, observed)
    return stack.model_copy(update={"still": stack.still.model_copy(update={"ports": still})}) if still else stack


def inconsistent(stack: Stack) -> Iterable[tuple[Loc, str]]:
    """Report a stack with app hosts but no services, and errors in its services."""
    if stack.with_role("app") and not stack.services:
        yield (), "services: is missing, but a host has the role app"
    yield from contradictions(stack, lease.missing(stack))
    yield from rolling.contradictions(stack)


def still_served(stack: Stack) -> Iterator[str]:
    """Yield a sentence for each old port of a service that the second pass closes."""
    yield from port_changes.sentences(stack)


def turns(stack: Stack, work: Mapping[str, HostWork]) -> Sequence[Sequence[str]]:
    """Return the hosts in the groups in which they are deployed, one group after another."""
    return rolling.groups(stack, work, rolling.settings(stack).at_once)


def held_back(stack: Stack, host: Host) -> Iterator[str]:
    """Yield a sentence for each service of a host whose source still has content that was rolled back."""
    return holds.refusals(stack, [name for name, _ in here(stack, host)])


def findings(stack: Stack, host: Host, observed: Observed) -> Iterator[Finding]:
    """Report missing Pythons, invalid calendars, ports in use, folders and timers that only one host has."""
    yield from pythons.findings(stack, (name for name, _ in here(stack, host)), observed)
    yield from calendars.findings(stack, host, observed)
    for text in port_changes.taken(stack, host, observed):
        yield Finding(text)
    for text in one_host_each(stack, host):
        yield Finding(text, refused=False)
    for name in [name for name, _ in here(stack, host) if hosts(stack, name)[0] == host]:
        for text in release_check.notes(stack, name):
            yield Finding(text, refused=False)
    for service, settings in stack.services.items():
        for name, timer in settings.timers.items():
            several = len(placed(stack, timer.hosts or settings.hosts)) > 1
            if several and timer_hosts(stack, service, timer) == [host]:
                why = f"to run on another host if this one is down, it needs {lease.missing(stack)}"
                yield Finding(f"{service}: the timer {name} runs on this host only; {why}", refused=False)


def leaves(stack: Stack, host: Host) -> Iterator[Leftover]:
    """Yield the folder of each service of a host for the data that it writes."""
    return (Leftover(data(name), f"the files of {name}") for name, _ in here(stack, host))


def tunnels(stack: Stack) -> Iterator[Target]:
    """Yield the port of each service on its first host, which bypasses the balancers."""
    for one in served(stack):
        if one.hosts:
            yield Target("", "", (one.hosts[0].name,), (), one.port)


def problems(stack: Stack, _now: datetime) -> Iterable[str]:
    """Return the problems that keep the services' sources from being installed and started on a host."""
    return release_check.problems(stack)


ROLE = Role(
    name="app",
    key="rolling",
    settings=rolling.Rolling,
    contradictions=inconsistent,
    desired=desired,
    opens=opens,
    uses=("db.application",),
    facts=probe_facts,
    leaves=leaves,
    findings=findings,
    refusals=asset_hosts.refusals,
    transition=transition,
    used_by=("balancer",),
    still_served=still_served,
    holds=holds.read,
    held_back=held_back,
    tunnels=tunnels,
    problems=problems,
    after=("firewall", "db", "cache_client", asset_files.ROLE),
    turns=turns,
    # Balancers may have taken a host out of use that was down for ten seconds. They check such a host twice a second
    # and use it again after a reload.
    settle=Settle(SETTLE, "wait until the balancers use the previous host again", taken_again),
    spare=Spare(PATIENCE, "wait until the balancers use another host", another_taken),
    secrets=declared,
    refers=referred,
)
