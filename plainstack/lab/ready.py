"""Readiness of a started lab: every unit is active, every replica streams, and a balancer has the virtual address."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event

from plainstack.deploy.observe import Observer, View
from plainstack.deploy.status import units_down
from plainstack.engine.role import Role
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.topology import members, primaries
from plainstack.services import virtual

_SECONDS = 240
UNITS, REPLICATION, ADDRESS = "every unit active", "replication streaming", "virtual address held"


def stop_order(stack: Stack, roles: Mapping[str, Role]) -> list[list[str]]:
    """Return groups of machines in stopping order: the hosts of a role before those of the roles that it depends on."""
    levels: dict[str, int] = {}
    for name, role in roles.items():
        levels[name] = max((levels[other] + 1 for other in role.after), default=0)
    level = {name: max((levels[role] for role in host.roles), default=0) for name, host in stack.hosts.items()}
    groups = [[name for name in stack.hosts if level[name] == one] for one in sorted(set(level.values()), reverse=True)]
    groups[0] += stack.lab.visitors
    return groups


def await_ready(
    stack: Stack, roles: Mapping[str, Role], only: tuple[str, ...], report: Callable[[str], None], began: float
) -> None:
    """Wait until everything deployed on the started hosts works.

    Report for each part how many seconds after `began` it works. Raises Refused after four minutes.
    """
    hosts = tuple(name for name in stack.hosts if not only or name in only)
    if not hosts:
        return
    reported: set[str] = set()
    seen = View(stack)
    with Observer(stack, roles, (), hosts, needs_values=False) as observer:
        deadline = time.monotonic() + _SECONDS
        while True:
            asked = time.monotonic()
            now = observer.observe()
            took = time.monotonic() - asked
            seen.observed |= now.observed
            seen.failed = {name: error for name, error in seen.failed.items() if name not in now.observed} | now.failed
            missing = unready(stack, seen)
            for what, sentences in missing.items():
                if not sentences and what not in reported:
                    reported.add(what)
                    report(f"lab: {what} after {time.monotonic() - began:.1f} s")
            if not any(missing.values()):
                return
            if time.monotonic() > deadline:
                left = "; ".join(sentence for sentences in missing.values() for sentence in sentences)
                raise Refused(f"the hosts are up, but these problems remain after {_SECONDS} s: {left}. See inv status")
            # Probes cost CPU time that the hosts need to start, so only hosts on which something is missing are probed
            # again, after a pause as long as the last probes took.
            observer.hosts = tuple(name for name in hosts if name in awaited(stack, seen, missing))
            # No event announces readiness to this process, so poll.
            Event().wait(max(0.3, took))


def awaited(stack: Stack, seen: View, missing: Mapping[str, list[str]]) -> set[str]:
    """Return the hosts on which something is missing."""
    names = set(seen.failed) | {name for name, host in seen.observed.items() if units_down(host)[1]}
    for what, role in ((REPLICATION, "db"), (ADDRESS, "balancer")):
        if missing.get(what):
            names |= {host.name for host in stack.with_role(role)}
    return names


def unready(stack: Stack, view: View) -> Mapping[str, list[str]]:
    """Return messages about everything that does not work yet, by UNITS, REPLICATION and ADDRESS.

    They leave out what cannot work: everything on hosts without a deploy, and what needs hosts that were not started.
    """
    missing: dict[str, list[str]] = {UNITS: [f"{name}: {error.reason}" for name, error in view.failed.items()]}
    deployed = set(view.failed)
    for name, seen in view.observed.items():
        wanted, down = units_down(seen)
        missing[UNITS] += [f"{name}: {unit} is {state}" for unit, state in down.items()]
        if wanted:
            deployed.add(name)
    if not deployed:
        return {}
    databases = [host.name for host in stack.with_role("db")]
    if databases and deployed.issuperset(databases):
        missing[REPLICATION] = _unreplicated(databases, view)
    balancers = [host.name for host in stack.with_role("balancer")]
    if balancers and virtual.addresses(stack) and deployed.issuperset(balancers):
        answers = {name: view.observed[name].facts for name in balancers if name in view.observed}
        missing[ADDRESS] = [*virtual.not_held_once(stack, answers)]
    return missing


def _unreplicated(databases: list[str], view: View) -> list[str]:
    cluster = members(databases, {name: view.observed[name].facts for name in databases if name in view.observed})
    leading = len(primaries(cluster))
    problems = (
        [] if leading == 1 else [f"the database has {leading or 'no'} {'primary' if leading < 2 else 'primaries'}"]
    )
    # A host without data is not counted: only a deploy gives it data.
    others = [member for member in cluster if member.state not in ("primary", "empty") and not member.upstream]
    return problems + [f"{member.name} does not stream ({member.label})" for member in others]
