"""Checks of the observed hosts before a deploy changes anything: refusals, and notes for the operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from plainstack.engine import ports
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan
from plainstack.engine.plan.planner import consented
from plainstack.engine.resources import File, Resource
from plainstack.engine.role import Finding, Role, of_host
from plainstack.inventory.stack import Stack


def refusals(
    stack: Stack,
    roles: Mapping[str, Role],
    desired: Mapping[str, Mapping[str, Sequence[Resource]]],
    observed: Mapping[str, Observed],
) -> list[str]:
    """Return the reasons to refuse the deploy, host by host; `desired` holds the roles in scope."""
    found = []
    for name, seen in observed.items():
        wanted = desired[name]
        findings = _findings(stack, roles, name, wanted, seen)
        sentences = [finding.text for finding in findings if finding.refused]
        sentences += [*ports.taken(wanted, seen), *_removals(wanted, seen)]
        found += [f"{name}: {sentence}" for sentence in sentences]
    return found


def notes(
    stack: Stack,
    roles: Mapping[str, Role],
    desired: Mapping[str, Mapping[str, Sequence[Resource]]],
    observed: Mapping[str, Observed],
    pending: Mapping[str, HostPlan],
) -> list[str]:
    """Return notes for the operator, most of them on the hosts that change; they do not stop the deploy."""
    found = []
    for name, seen in observed.items():
        findings = _findings(stack, roles, name, desired[name], seen)
        sentences = [one.text for one in findings if not one.refused and (one.always or name in pending)]
        found += [f"{name}: {sentence}" for sentence in [*sentences, *_unknown(desired[name], seen)]]
    return found


def _findings(
    stack: Stack, roles: Mapping[str, Role], name: str, wanted: Mapping[str, object], seen: Observed
) -> Iterator[Finding]:
    host = stack.hosts[name]
    for role in of_host(host, dict(roles)):
        if role.name in wanted:
            yield from role.findings(stack, host, seen)


def _removals(wanted: Mapping[str, Sequence[Resource]], seen: Observed) -> Iterator[str]:
    allowed = consented(wanted)
    refused = [package for package in seen.removes if package not in allowed]
    if refused:
        yield (
            f"to install what is missing, apt would remove {', '.join(refused)}. Remove"
            f" {'it' if len(refused) == 1 else 'them'} yourself if you agree (apt-get remove"
            f" {' '.join(refused)}), and deploy again"
        )


def _unknown(wanted: Mapping[str, Sequence[Resource]], seen: Observed) -> Iterator[str]:
    # Not a refusal: the lists may be older than the package. A source that the deploy adds may have it.
    declared = [item for resources in wanted.values() for item in resources]
    source = any(isinstance(item, File) and item.early and item.path not in seen.paths for item in declared)
    if seen.unknown and not source:
        yield (
            f"apt does not know {', '.join(seen.unknown)}: see whether the spelling is right. The deploy updates apt's"
            " lists and looks again"
        )
