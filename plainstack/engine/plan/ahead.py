"""Which of a role's actions on a host are done ahead: on all hosts of the role, before the first takes its turn."""

from __future__ import annotations

from collections.abc import Sequence

from plainstack.engine.plan.actions import Action, Put, Remove, Run


def split(actions: Sequence[Action]) -> tuple[list[Action], list[Action]]:
    """A role's actions on a host, in order -> those done ahead of the role's turns, and the rest.

    Nothing is ahead where that would leave nothing else to do.
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
