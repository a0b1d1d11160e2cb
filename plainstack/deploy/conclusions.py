"""What follows from the observation of the hosts: reasons not to deploy, notes for the operator, and overrides."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from plainstack.deploy import over_hosts, status
from plainstack.engine import ownership, preflight
from plainstack.engine.role import of_host
from plainstack.engine.sources import Sources
from plainstack.services import holds

if TYPE_CHECKING:
    from plainstack.deploy.observe import Observer, View


def refusals(observer: Observer, view: View) -> list[str]:
    """Return the reasons to refuse the deploy that follow from the observed state of the hosts."""
    wanted = observer.in_scope()
    found = preflight.refusals(observer.stack, observer.roles, wanted, view.observed)
    versions = observer.vault.versions
    others = [] if observer.new_secrets else ownership.refusals(wanted, view.observed, versions)
    deployed = {name: tuple(roles) for name, roles in wanted.items() if name in view.observed}
    return [*found, *others, *over_hosts.refusals(observer, view, deployed)]


def held_back(observer: Observer, view: View) -> list[str]:
    """Return the reasons to refuse `inv deploy` because of holds.

    It would have nothing else to do, and look successful; or some hosts do not run the release of a rollback.
    """
    stay = left_as_is(observer)
    if not stay:
        return []
    return list(holds.unfinished(observer.stack, view.pending)) or ([] if view.pending else stay)


def left_as_is(observer: Observer) -> list[str]:
    """Return sentences about what `inv deploy` leaves as it is because of holds on the hosts."""
    if observer.change:
        return []
    hosts = [observer.stack.hosts[name] for name in observer.hosts]
    found = [
        sentence
        for host in hosts
        for role in of_host(host, observer.roles)
        if not observer.chosen or role.name in observer.chosen
        for sentence in role.held_back(observer.stack, host)
    ]
    return list(dict.fromkeys(found))


def findings(observer: Observer, view: View) -> list[str]:
    """Return notes for the operator about the hosts that would change, and the notes of `inv status`."""
    found = preflight.notes(observer.stack, observer.roles, observer.in_scope(), view.observed, view.pending)
    return [*found, *status.notes(status.rows(observer.stack, observer.roles, view, time.time()))]


def overrides(observer: Observer) -> Mapping[str, str]:
    """Return the shipped templates, files and checks that the stack overrides for the observed hosts.

    Each comes with the path of its replacement.
    """
    hosts = [observer.stack.hosts[name] for name in observer.hosts]
    roles = {role.name for host in hosts for role in of_host(host, observer.roles)}
    return Sources.of(observer.stack.folder).overrides(roles)
