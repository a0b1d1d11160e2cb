"""The usual tasks, with the reference work as the only role: inv --search-root=FOLDER -c reference_tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plainstack.cli import command, deploy_commands
from plainstack.cli.inv import namespace

if TYPE_CHECKING:
    from plainstack.inventory.stack import Stack

__all__ = ["namespace"]


def load(*given: Any, **named: Any) -> Stack:
    """Load an inventory with the reference role; it is imported only now, because the tool also imports roles late."""
    from bench import reference_role

    reference_role.install()
    return command.load(*given, **named)


vars(deploy_commands)["load"] = load
