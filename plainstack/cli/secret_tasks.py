"""`inv secrets.*`: the stack's passwords and keys."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli.help import help_if_asked
from plainstack.cli.options import JSON, SELECT


@task(name="list", help={"inventory": SELECT["inventory"], **JSON})
def list_secrets(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """Show the names of all secrets, how old each is, and which roles use it; never a value."""
    from plainstack.cli import secret_commands

    secret_commands.list_all(inventory, json=json)


@task(name="edit", help={"inventory": SELECT["inventory"]})
def edit_secrets(_c: Context, inventory: str = "hosts.yaml") -> None:
    """Change secrets in your editor (VISUAL or EDITOR), decrypted in memory only; shows which names changed."""
    from plainstack.cli import secret_commands

    secret_commands.edit(inventory)


@task(
    name="rotate",
    positional=["name"],
    help={
        "inventory": SELECT["inventory"],
        "name": "the secret, as inv secrets.list calls it",
        "revoke": "accept the value before no longer, for one that leaked: clients and sessions that use it are out",
    },
)
def rotate_secret(_c: Context, name: str, inventory: str = "hosts.yaml", revoke: bool = False) -> None:
    """Replace a secret by a new value on every host, without an outage of the site: inv secrets.rotate postgres/app

    Deploys what it takes, one step after the other; interrupted, the same command goes on where it was.
    Exit code: 0 every host uses the new value, 1 not yet: run it again.
    """
    from plainstack.cli import secret_commands

    help_if_asked(name, program, "secrets.rotate")
    secret_commands.rotate(inventory, name, revoke=revoke)


secrets = Collection("secrets")
secrets.add_task(list_secrets, name="list")
secrets.add_task(edit_secrets, name="edit")
secrets.add_task(rotate_secret, name="rotate")
