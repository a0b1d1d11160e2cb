"""Workers: hosts that run processes of services without serving HTTP to the balancers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from plainstack.engine.network import Network
from plainstack.engine.observed import Observed
from plainstack.engine.resources import Resource
from plainstack.engine.role import Finding, HostWork, Opening, Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles import app
from plainstack.secrets.values import Vault
from plainstack.services import folders, rolling, watchdog
from plainstack.services.processes import runner
from plainstack.services.secrets import names, referred


def desired(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of a worker; if the host is also an app host, the role app yields them."""
    if runner(host) == ROLE.name:
        yield from app.desired(stack, host, vault, network)


def opens(stack: Stack, host: Host) -> Iterable[Opening]:
    """Open the ports of processes to watchdogs, and that of the folders that are backed up to the backup host."""
    if runner(host) == ROLE.name:
        yield from watchdog.opens(stack, host)
    yield from folders.opens(stack, host, ROLE.name)


def turns(stack: Stack, work: Mapping[str, HostWork]) -> Sequence[Sequence[str]]:
    """Return the workers in groups: all at once, except hosts that migrate the database or run the last hooks."""
    return rolling.groups(stack, work, at_once=len(work))


def held_back(stack: Stack, host: Host) -> Iterable[str]:
    """Return the reasons to refuse a deploy of a worker; if it is also an app host, the role app does."""
    return app.held_back(stack, host) if runner(host) == ROLE.name else ()


def findings(stack: Stack, host: Host, observed: Observed) -> Iterable[Finding]:
    """Report the findings of the role app for a host that has only the role worker."""
    return app.findings(stack, host, observed) if runner(host) == ROLE.name else ()


def problems(stack: Stack, now: datetime) -> Iterable[str]:
    """Return the problems that keep the services' sources from being installed and started on a host."""
    return () if stack.with_role("app") else app.problems(stack, now)


ROLE = Role(
    name="worker",
    desired=desired,
    opens=opens,
    uses=("db.application",),
    facts=app.probe_facts,
    leaves=app.leaves,
    findings=findings,
    refusals=app.ROLE.refusals,
    holds=app.ROLE.holds,
    held_back=held_back,
    problems=problems,
    # The first app host migrates the database.
    after=("firewall", "db", "cache_client", "app"),
    turns=turns,
    reads=names,
    refers=referred,
)
