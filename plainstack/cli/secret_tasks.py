"""`inv secrets.*`: the stack's passwords and keys."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli.help import help_if_asked, refuse_second_word
from plainstack.cli.options import JSON, OUTAGE, SELECT


@task(name="list", help={"inventory": SELECT["inventory"], **JSON})
def list_secrets(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """Show the name and age of every secret and the roles that use it; never its value."""
    from plainstack.cli import secret_commands

    secret_commands.list_all(inventory, json=json)


@task(name="edit", help={"inventory": SELECT["inventory"]})
def edit_secrets(_c: Context, inventory: str = "hosts.yaml") -> None:
    """Edit secrets in your editor (VISUAL or EDITOR), decrypted in memory only; show which ones changed."""
    from plainstack.cli import secret_commands

    secret_commands.edit(inventory)


@task(
    name="rotate",
    positional=["name"],
    help={
        "inventory": SELECT["inventory"],
        "name": "the secret's name, as inv secrets.list shows it",
        "revoke": "stop accepting the previous value, for example after a leak; its clients and sessions are rejected",
        **OUTAGE,
    },
)
def rotate_secret(
    _c: Context, name: str, inventory: str = "hosts.yaml", revoke: bool = False, accept_outage: bool = False
) -> None:
    """Replace a secret with a new value on every host, without an outage of the site: inv secrets.rotate postgres/app

    Runs as many deploys as this takes. After an interruption, the same command continues.
    Exit code: 0 every host uses the new value, 1 not yet: run it again.
    """
    from plainstack.cli import rotate_command

    help_if_asked(name, program, "secrets.rotate")
    rotate_command.rotate(inventory, name, revoke=revoke, accept_outage=accept_outage)


NAMED = {"inventory": SELECT["inventory"], "name": "the secret's name, as inv secrets.list shows it"}


@task(name="set", positional=["name"], help=NAMED)
def set_secret(_c: Context, name: str, inventory: str = "hosts.yaml") -> None:
    """Set a secret: asks for the value without showing it, or reads it from a pipe: inv secrets.set web/API_KEY

    From a pipe, one newline at the end is not part of the value. The value reaches the hosts with the next deploy.
    """
    from plainstack.cli import secret_commands

    help_if_asked(name, program, "secrets.set")
    secret_commands.set_value(inventory, name)


@task(name="unset", positional=["name"], help=NAMED)
def unset_secret(_c: Context, name: str, inventory: str = "hosts.yaml") -> None:
    """Remove a secret that a person has set, or that nothing uses any more, from the store."""
    from plainstack.cli import secret_commands

    help_if_asked(name, program, "secrets.unset")
    secret_commands.unset(inventory, name)


refuse_second_word(
    program,
    set_secret,
    "secrets.set",
    "a value is not taken from the command line, where the shell's history and the list of processes show it; leave it"
    " out and type it when asked, or pipe it: inv secrets.set NAME <FILE",
)
secrets = Collection("secrets")
secrets.add_task(set_secret, name="set")
secrets.add_task(unset_secret, name="unset")
secrets.add_task(list_secrets, name="list")
secrets.add_task(edit_secrets, name="edit")
secrets.add_task(rotate_secret, name="rotate")
