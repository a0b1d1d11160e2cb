"""Plainstack's Invoke tasks: they parse options, call plainstack, and print. `inv --list` lists them."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli import (
    backup_tasks,
    cache_tasks,
    daily_tasks,
    inventory_tasks,
    lab_tasks,
    release_tasks,
    restore_tasks,
    secret_tasks,
    service_tasks,
    teardown_task,
)
from plainstack.cli.collector import relax
from plainstack.cli.help import name_word
from plainstack.cli.options import AGAIN, BUILD, JSON, NOTIFY, OUTAGE, SELECT
from plainstack.cli.streams import guard
from plainstack.cli.usage import explain_errors

relax()
guard()
name_word(program, "tunnel", "to")
explain_errors(program, "inv")


@task(help={**SELECT, **JSON, **BUILD, **AGAIN, "verbose": "list every file that a release leaves out"})
def plan(
    _c: Context,
    inventory: str = "hosts.yaml",
    role: str = "",
    host: str = "",
    json: bool = False,
    again: bool = False,
    no_build: bool = False,
    verbose: bool = False,
) -> None:
    """Show what a deploy would change, as diffs; changes nothing on hosts.

    A service with `build.local` is built first, in its source folder, if the source has changed since its last build.

    Exit code: 0 nothing to do, 2 there are changes, 1 an error or a deploy would be refused.
    """
    from plainstack.cli import deploy_commands

    deploy_commands.plan(inventory, role, host, json=json, again=again, no_build=no_build, verbose=verbose)


@task(
    help={
        **SELECT,
        **JSON,
        **BUILD,
        "new-secrets": "replace secrets on hosts that were deployed with another secret store or a newer version of it",
        **NOTIFY,
        **AGAIN,
        **OUTAGE,
    }
)
def deploy(
    _c: Context,
    inventory: str = "hosts.yaml",
    role: str = "",
    host: str = "",
    json: bool = False,
    again: bool = False,
    no_notify: bool = False,
    no_build: bool = False,
    new_secrets: bool = False,
    accept_outage: bool = False,
) -> None:
    """Bring the hosts to the state that the inventory describes.

    Shows the plan, then applies it: first packages, then role by role in dependency order. The files of a role form one
    transaction: it is validated first, and rolled back if a unit does not come up. Safe to run repeatedly, at any time.

    Exit code: 0 all hosts are in the desired state, 1 a host failed (the others keep their results).
    """
    from plainstack.cli import deploy_commands

    deploy_commands.deploy(
        inventory,
        role,
        host,
        json=json,
        new_secrets=new_secrets,
        again=again,
        no_build=no_build,
        notify=not no_notify,
        accept_outage=accept_outage,
    )


@task(help={**SELECT, **JSON})
def verify(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Run the checks of every role on all its hosts in parallel; safe on production.

    Exit code: 0 all checks pass, 1 otherwise.
    """
    from plainstack.cli import operate_commands

    operate_commands.verify(inventory, role, host, json=json)


@task(help={**SELECT, **JSON})
def status(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Show on one screen: hosts, roles, units, primary and replicas with their lag, virtual address, last backup.

    Exit code: 0 no problems, 1 problems found.
    """
    from plainstack.cli import operate_commands

    operate_commands.status(inventory, role, host, json=json)


@task(help={**SELECT, **JSON})
def drift(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Show what was changed on the hosts outside Plainstack: files, modes, units, users, live settings.

    A change in the inventory that is not deployed yet is not drift: inv plan shows it. `inv deploy` reverts drift.

    Exit code: 0 no drift, 2 drift found, 1 an error.
    """
    from plainstack.cli import operate_commands

    operate_commands.drift(inventory, role, host, json=json)


@task(
    help={
        "inventory": SELECT["inventory"],
        "host": SELECT["host"],
        "last": "how many events (default: 20)",
        "verbose": "also show the git commit, command and actions of each event",
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
    """Show what Plainstack changed on the hosts: one event per line, with its time, operator, host and result."""
    from plainstack.cli import operate_commands

    operate_commands.log(inventory, host, last, json=json, verbose=verbose)


@task(
    help={
        "inventory": SELECT["inventory"],
        "yes": "pin without asking, for scripts; this trusts the network",
    }
)
def trust(_c: Context, inventory: str = "hosts.yaml", yes: bool = False) -> None:
    """Show every new or changed fingerprint of the hosts' SSH keys, and ask whether to pin it.

    Compare the fingerprints with what the hosts' consoles show: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    from plainstack.cli import operate_commands

    operate_commands.trust(inventory, yes=yes)


@task(
    help={
        "inventory": SELECT["inventory"],
        "to": "open only this port, HOST:PORT; the option's name may be left out: inv tunnel db1:5432",
        "host": "with --port, the same as --to=HOST:PORT",
        "port": "with --host, the same as --to=HOST:PORT",
        "open": "open the pages in the browser of this machine",
    }
)
def tunnel(
    _c: Context, inventory: str = "hosts.yaml", to: str = "", host: str = "", port: str = "", open: bool = False
) -> None:
    """Open the site and Prometheus on loopback ports of this machine, or any port of a host, until Ctrl-C.

    inv tunnel            the web pages, each with a description
    inv tunnel db1:5432   PostgreSQL of db1, on local port 5432 if it is free
    """
    from plainstack.cli import operate_commands

    operate_commands.tunnel(inventory, to, host, port, show=open)


@task(help={"inventory": "the inventory file; the roles in its folder are listed too", **JSON})
def roles(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """List all roles: where each comes from, its hosts, what it needs, its settings with their defaults.

    A stack's own roles are the modules in the folder roles/ beside its inventory; see docs/roles.md.
    """
    from plainstack.cli import inventory_commands

    inventory_commands.roles(inventory, json=json)


namespace = Collection(
    plan,
    deploy,
    release_tasks.releases,
    release_tasks.rollback,
    verify,
    status,
    drift,
    log,
    daily_tasks.logs,
    daily_tasks.shell,
    daily_tasks.exec_in,
    daily_tasks.console,
    service_tasks.restart,
    service_tasks.stop,
    service_tasks.start,
    service_tasks.maintenance,
    cache_tasks.cache,
    backup_tasks.backups,
    restore_tasks.restore,
    backup_tasks.backup_now,
    backup_tasks.restore_test,
    trust,
    tunnel,
    teardown_task.teardown,
    roles,
    inventory_tasks.inventories,
    lab_tasks.lab,
    secret_tasks.secrets,
)
