"""Select the actions of a role that run ahead: on all its hosts, before the first host takes its turn."""

from __future__ import annotations

from collections.abc import Sequence

from plainstack.engine.plan.actions import Action, Put, Remove, Run


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
