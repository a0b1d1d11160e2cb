"""Select the actions of a role that run ahead: on all its hosts, before the first host takes its turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from plainstack.engine.plan.actions import Action, HostPlan, Put, Remove, Run, Transaction, ahead_of


def split(actions: Sequence[Action]) -> tuple[list[Action], list[Action]]:
    """Split a role's actions on a host into those that run ahead and the rest, each in order.

    No action runs ahead if there is no command to run ahead, or if no visible action would remain.
    """
    if not any(action.ahead and isinstance(action, Run) for action in actions):
        return [], list(actions)
    folders = {action.resource.path for action in actions if isinstance(action, Put) and action.ahead}
    first = [action for action in actions if action.ahead or (isinstance(action, Remove) and action.path in folders)]
    taken = {id(action) for action in first}
    rest = [action for action in actions if id(action) not in taken]
    if all(action.hidden for action in rest):
        return [], list(actions)
    return first, rest


def amid(plan: HostPlan, between: Mapping[str, Sequence[str]]) -> HostPlan:
    """Return a plan in the order that the roles' `amid` require; `between` is the `amid` of each role that has one.

    The `ahead` transactions of these other roles move in front of the role. The planner puts all transactions of a role
    after those of the roles in its `after`, so they would come after it.
    """
    order = list(plan.transactions)
    for role, others in between.items():
        place = next((number for number, one in enumerate(order) if one.stage == role), None)
        stages = [ahead_of(name) for name in others]
        early: list[Transaction] = [one for one in order if one.stage in stages]
        if place is not None and early:
            first = [one for one in order[:place] if one not in early]
            order = [*first, *early, *(one for one in order[place:] if one not in early)]
    return plan if tuple(order) == plan.transactions else replace(plan, transactions=tuple(order))
