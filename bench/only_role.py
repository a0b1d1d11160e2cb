"""Replaces the roles of the tool with a single one, in this process."""

from __future__ import annotations

from collections.abc import Mapping

from plainstack.engine.role import Role
from plainstack.inventory.stack import Stack


def install(role: Role) -> None:
    """Let deploys, and the probes of a floor, know only this role."""
    from plainstack.cli import command, deploy_commands

    def roles_of(stack: Stack) -> Mapping[str, Role]:  # noqa: ARG001 - the tool passes it
        return {role.name: role}

    for module in (command, deploy_commands):
        vars(module)["roles_of"] = roles_of
