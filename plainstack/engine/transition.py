"""Transitions: while two roles change a shared value, old and new are both served until every peer has moved.

A service's port is such a value. Balancers and app hosts cannot all switch at the same moment, so a deploy takes two
passes: in the first, the app hosts serve both ports and then the balancers move; in the second, the old port closes.
The old values are read from the hosts, so an interrupted deploy continues where it stopped.
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
    """Return the stack to deploy now: `stack`, with old values beside the new ones where peers still use the old ones.

    `plans` are the plans of `stack` for all roles, even if --role limits the deploy.
    """
    for role in roles.values():
        if not all(_moved(stack, peers, plans) for peers in role.used_by):
            stack = role.transition(stack, observed)
    return stack


def notes(stack: Stack, roles: Mapping[str, Role]) -> Iterator[str]:
    """Yield sentences about the values that are still served for peers that have not moved."""
    for role in roles.values():
        yield from role.still_served(stack)


def _moved(stack: Stack, role: str, plans: Mapping[str, HostPlan]) -> bool:
    """Return whether a role has nothing left to deploy on any host; False if one of its hosts was not planned."""
    return all(
        host.name in plans and role not in {work.role for work in plans[host.name].transactions}
        for host in stack.with_role(role)
    )
