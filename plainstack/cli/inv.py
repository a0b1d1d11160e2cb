"""Plainstack's Invoke tasks: they parse flags, call plainstack, and print. `inv --list` shows them all."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli import inventory_tasks, lab_tasks, secret_tasks
from plainstack.cli.collector import relax
from plainstack.cli.help import name_word
from plainstack.cli.options import JSON, SELECT
from plainstack.cli.streams import guard

relax()
guard()
name_word(program, "tunnel", "to")


@task(help={**SELECT, **JSON})
def plan(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Show what a deploy would change, as diffs; changes nothing.

    Exit code: 0 nothing to do, 2 there are changes, 1 an error, or a deploy would be refused.
    """
    from plainstack.cli import deploy_commands

    deploy_commands.plan(inventory, role, host, json=json)


@task(
    help={
        **SELECT,
        **JSON,
        "new-secrets": "replace the secrets of hosts that were deployed with another store or a newer state of it",
    }
)
def deploy(
    _c: Context,
    inventory: str = "hosts.yaml",
    role: str = "",
    host: str = "",
    json: bool = False,
    new_secrets: bool = False,
) -> None:
    """Make the hosts what the inventory says.

    Shows the plan, then applies it: packages, then role by role in dependency order, each role's files as one
    transaction that is validated first and rolled back if a unit does not come up. Safe to run at any time, and again.

    Exit code: 0 all hosts are as wanted, 1 a host failed (the others keep their results).
    """
    from plainstack.cli import deploy_commands

    deploy_commands.deploy(inventory, role, host, json=json, new_secrets=new_secrets)


@task(help={**SELECT, **JSON})
def verify(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Run the checks of every role against its hosts, all hosts at once; harmless on production.

    Exit code: 0 every promise holds, 1 otherwise.
    """
    from plainstack.cli import operate_commands

    operate_commands.verify(inventory, role, host, json=json)


@task(help={**SELECT, **JSON})
def status(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """One screen: hosts, roles, units, primary and replicas with their lag, virtual address, last backup.

    Exit code: 0 all is well, 1 something is not.
    """
    from plainstack.cli import operate_commands

    operate_commands.status(inventory, role, host, json=json)


@task(help={**SELECT, **JSON})
def drift(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Show what somebody changed on the hosts outside Plainstack: files, modes, units, users, live settings.

    A change that is merely not deployed yet is no drift: inv plan shows that. `inv deploy` puts drift back.

    Exit code: 0 none, 2 there is drift, 1 an error.
    """
    from plainstack.cli import operate_commands

    operate_commands.drift(inventory, role, host, json=json)


@task(
    help={
        "inventory": SELECT["inventory"],
        "host": SELECT["host"],
        "last": "how many events (default: 20)",
        "verbose": "show each event's git commit, command and actions too",
        **JSON,
    }
)
def log(
    _c: Context,
    inventory: str = "hosts.yaml",
    host: str = "",
    last: int = 20,
    verbose: bool = False,
    json: bool = False,
) -> None:
    """Show what was changed on the hosts, one event a line: when, by whom, on which host, and how it ended."""
    from plainstack.cli import operate_commands

    operate_commands.log(inventory, host, last, json=json, verbose=verbose)


@task(name="backup-now", help={"inventory": SELECT["inventory"], **JSON})
def backup_now(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """Take a base backup now and wait until it is usable; prints its id, size and duration."""
    from plainstack.cli import operate_commands

    operate_commands.backup_now(inventory, json=json)


@task(help={"inventory": SELECT["inventory"], "yes": "pin without asking (for scripts; you trust the network now)"})
def trust(_c: Context, inventory: str = "hosts.yaml", yes: bool = False) -> None:
    """Pin the hosts' SSH keys: shows every new or changed fingerprint, and asks.

    Compare the fingerprints with what the hosts' consoles show: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    from plainstack.cli import operate_commands

    operate_commands.trust(inventory, yes=yes)


@task(
    help={
        "inventory": SELECT["inventory"],
        "to": "this port of a host instead, HOST:PORT; the word alone means the same: inv tunnel db1:5432",
        "host": "the same in two options: this host's",
        "port": "port",
        "open": "show the pages in this machine's browser",
    }
)
def tunnel(
    _c: Context, inventory: str = "hosts.yaml", to: str = "", host: str = "", port: str = "", open: bool = False
) -> None:
    """Open the site and Prometheus on loopback ports of this machine, or any port of a host, until Ctrl-C.

    inv tunnel            the pages, with a sentence for each
    inv tunnel db1:5432   PostgreSQL of db1, on the same port here if it is free
    """
    from plainstack.cli import operate_commands

    operate_commands.tunnel(inventory, to, host, port, show=open)


@task(help={"inventory": "the inventory whose folder may hold roles of its own", **JSON})
def roles(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """List the roles there are: where each comes from, its hosts, what it needs, its settings with their defaults.

    A stack's own roles are the modules in the folder roles/ beside its inventory; see docs/roles.md.
    """
    from plainstack.cli import inventory_commands

    inventory_commands.roles(inventory, json=json)


namespace = Collection(
    plan,
    deploy,
    verify,
    status,
    drift,
    log,
    backup_now,
    trust,
    tunnel,
    roles,
    inventory_tasks.inventories,
    lab_tasks.lab,
    secret_tasks.secrets,
)
