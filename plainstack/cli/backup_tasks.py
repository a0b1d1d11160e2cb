"""The Invoke tasks for backups of the database."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from plainstack.cli.options import JSON, SELECT


@task(name="backup-now", help={"inventory": SELECT["inventory"], **JSON})
def backup_now(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """Take a base backup now and wait until it is usable; print its id, size and duration."""
    from plainstack.cli import backup_commands

    backup_commands.backup_now(inventory, json=json)
