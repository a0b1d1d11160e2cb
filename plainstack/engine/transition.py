"""A value that two roles must change together: its old and its new form are both served until every peer has moved.

A service's port is such a value: balancers and app hosts cannot all learn a new one at one moment, so a deploy takes
two passes. In the first the app hosts serve both ports, and then the balancers move; in the second the old port closes.
What is still served is observed, so an interrupted deploy goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan
from plainstack.engine.role import Role
from plainstack.inventory.stack import Stack


def expanded(
    stack: Stack, roles: Mapping[str, Role], observed: Mapping[str, Observed], plans: Mapping[str, HostPlan]
) -> Stack:
    """The stack to deploy now: the given one itself, or the same with old values beside the new.

    `plans` are those of the given stack, with all roles of the hosts in scope.
    """
    for role in roles.values():
        if not all(_moved(stack, peers, plans) for peers in role.used_by):
            stack = role.transition(stack, observed)
    return stack


def notes(stack: Stack, roles: Mapping[str, Role]) -> Iterator[str]:
    """What is still served for peers that have not moved, in sentences."""
    for role in roles.values():
        yield from role.still_served(stack)


def _moved(stack: Stack, role: str, plans: Mapping[str, HostPlan]) -> bool:
    """Whether all hosts of a role are what they should be; a host that was not asked may not be."""
    return all(
        host.name in plans and role not in {work.role for work in plans[host.name].transactions}
        for host in stack.with_role(role)
    )
