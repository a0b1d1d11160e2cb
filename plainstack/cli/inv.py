"""Plainstack's Invoke tasks: they parse flags, call plainstack, and print. `inv --list` shows them all."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.collector import relax
from plainstack.streams import guard
from plainstack.usage import help_if_asked, name_word

relax()
guard()
name_word(program, "tunnel", "to")

SELECT = {
    "inventory": "the inventory file (default: hosts.yaml)",
    "role": "only hosts with these roles, and what these roles need there: db[,app...]",
    "host": "only these hosts: db1[,db2...]",
}
JSON = {"json": "print one JSON document on stdout instead of text"}


@task(help={**SELECT, **JSON})
def plan(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Show what a deploy would change, as diffs; changes nothing.

    Exit code: 0 nothing to do, 2 there are changes, 1 an error, or a deploy would be refused.
    """
    from plainstack import commands

    commands.plan(inventory, role, host, json=json)


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
    from plainstack import commands

    commands.deploy(inventory, role, host, json=json, new_secrets=new_secrets)


@task(help={**SELECT, **JSON})
def verify(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Run the checks of every role against its hosts, all hosts at once; harmless on production.

    Exit code: 0 every promise holds, 1 otherwise.
    """
    from plainstack import operate

    operate.verify(inventory, role, host, json=json)


@task(help={**SELECT, **JSON})
def status(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """One screen: hosts, roles, units, primary and replicas with their lag, virtual address, last backup.

    Exit code: 0 all is well, 1 something is not.
    """
    from plainstack import operate

    operate.status(inventory, role, host, json=json)


@task(help={**SELECT, **JSON})
def drift(_c: Context, inventory: str = "hosts.yaml", role: str = "", host: str = "", json: bool = False) -> None:
    """Show what somebody changed on the hosts outside Plainstack: files, modes, units, users, live settings.

    A change that is merely not deployed yet is no drift: inv plan shows that. `inv deploy` puts drift back.

    Exit code: 0 none, 2 there is drift, 1 an error.
    """
    from plainstack import operate

    operate.drift(inventory, role, host, json=json)


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
    from plainstack import operate

    operate.log(inventory, host, last, json=json, verbose=verbose)


@task(name="backup-now", help={"inventory": SELECT["inventory"], **JSON})
def backup_now(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """Take a base backup now and wait until it is usable; prints its id, size and duration."""
    from plainstack import operate

    operate.backup_now(inventory, json=json)


@task(help={"inventory": SELECT["inventory"], "yes": "pin without asking (for scripts; you trust the network now)"})
def trust(_c: Context, inventory: str = "hosts.yaml", yes: bool = False) -> None:
    """Pin the hosts' SSH keys: shows every new or changed fingerprint, and asks.

    Compare the fingerprints with what the hosts' consoles show: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    from plainstack import operate

    operate.trust(inventory, yes=yes)


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
    from plainstack import operate

    operate.tunnel(inventory, to, host, port, show=open)


@task(
    help={
        "inventory": SELECT["inventory"],
        "from": "start from this snapshot (inv lab.snapshots) instead of bare hosts",
        "host": "start only these: db1[,db2...]",
    }
)
def up(_c: Context, inventory: str = "hosts.yaml", from_: str = "", host: str = "") -> None:
    """Make the inventory's hosts real: Debian hosts with systemd on this machine (needs root).

    The inventory's `lab:` block says what they are like:

      name: shop-2                  the lab's name, if it is not the stack's
      visitors: {pc: {address: 192.168.57.50, public: 192.168.3.50}}
                                    hosts outside the stack; they know balancer.server_names
      disks: {db1: 500M}            how much a host can write
      sites: {west: [db2, lb2]}     hosts behind one link
      links: {west: {rate: 10M}, db1: {delay: 20ms, loss: 1%}}
                                    the link of a site or a host, each way; delay and loss need a kernel with netem
      debian: {app2: 12}            the release of a host that does not get 13
      no_ipv6: [db1]                hosts without IPv6

    Changed links take effect at once, other settings of a running host with a power cycle. All hosts share this
    machine's clock.
    """
    from plainstack import lab_commands

    lab_commands.up(inventory, from_, host)


@task(
    positional=["name"],
    help={
        "inventory": SELECT["inventory"],
        "name": "the snapshot's name",
        "down": "remove the lab afterwards instead of starting it again",
    },
)
def save(_c: Context, name: str, inventory: str = "hosts.yaml", down: bool = False) -> None:
    """Keep the lab as it is, hosts, secrets and all: inv lab.save deployed; inv lab.up --from=deployed

    The hosts are stopped in order, so that databases are clean. Nothing is copied.
    """
    from plainstack import lab_commands

    help_if_asked(name, program, "lab.save")
    lab_commands.save(inventory, name, down=down)


@task(help={"inventory": "not used: snapshots are the machine's", **JSON})
def snapshots(_c: Context, inventory: str = "", json: bool = False) -> None:  # noqa: ARG001 - every command takes it
    """Show the snapshots of this machine: name, age, size, stack, image, commit, inventory."""
    from plainstack import lab_commands

    lab_commands.snapshots(json=json)


@task(positional=["name"], help={"inventory": "not used: snapshots are the machine's", "name": "the snapshot's name"})
def forget(_c: Context, name: str, inventory: str = "") -> None:  # noqa: ARG001 - every command takes it
    """Remove a snapshot: inv lab.forget deployed

    Labs that were started from it go on.
    """
    from plainstack import lab_commands

    help_if_asked(name, program, "lab.forget")
    lab_commands.forget(name)


@task(help={"inventory": SELECT["inventory"], "all": "every lab of this machine, whoever made it; lists them first"})
def down(_c: Context, inventory: str = "hosts.yaml", all: bool = False) -> None:
    """Remove the lab with its hosts and their disks."""
    from plainstack import lab_commands

    lab_commands.down(inventory, every=all)


@task(name="status", help={"inventory": SELECT["inventory"]})
def lab_status(_c: Context, inventory: str = "hosts.yaml") -> None:
    """Show which lab hosts are up. Exit code: 0 all, 1 otherwise."""
    from plainstack import lab_commands

    lab_commands.status(inventory)


@task(help={"inventory": SELECT["inventory"], "host": "the lab host to log in to"}, positional=["host"])
def shell(_c: Context, host: str, inventory: str = "hosts.yaml") -> None:
    """Log in to a lab host: inv lab.shell db1"""
    from plainstack import lab_commands

    help_if_asked(host, program, "lab.shell")
    lab_commands.shell(inventory, host)


@task(
    name="break",
    positional=["host"],
    help={
        "inventory": SELECT["inventory"],
        "host": "the lab host",
        "cut": "pull its network cables",
        "freeze": "stop it where it is: connections stay open, nothing answers",
        "fill-disk": "leave no room on its disk, which must be of limited size (lab.disks in the inventory)",
        "reboot": "cut its power and boot it again",
        "power-off": "cut its power",
    },
)
def break_host(
    _c: Context,
    host: str,
    inventory: str = "hosts.yaml",
    cut: bool = False,
    freeze: bool = False,
    fill_disk: bool = False,
    reboot: bool = False,
    power_off: bool = False,
) -> None:
    """Break a lab host on purpose: inv lab.break db1 --cut; inv lab.mend db1"""
    from plainstack import lab_commands

    help_if_asked(host, program, "lab.break")
    lab_commands.break_host(
        inventory, host, cut=cut, freeze=freeze, fill_disk=fill_disk, reboot=reboot, power_off=power_off
    )


@task(positional=["host"], help={"inventory": SELECT["inventory"], "host": "the lab host"})
def mend(_c: Context, host: str, inventory: str = "hosts.yaml") -> None:
    """Undo what inv lab.break did to a host; a host that is powered off is booted."""
    from plainstack import lab_commands

    help_if_asked(host, program, "lab.mend")
    lab_commands.mend(inventory, host)


@task(help={"inventory": SELECT["inventory"], **JSON})
def show_inventory(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """Show every value that is in effect, with the file and line that it comes from.

    With `extends`, that is the merged result. User, path and query of URLs are masked.
    """
    from plainstack import inventory_commands

    inventory_commands.show(inventory, json=json)


@task(help={"inventory": "not used: the schema is the same for all"})
def schema(_c: Context, inventory: str = "") -> None:  # noqa: ARG001 - every command takes it
    """Print the JSON Schema of inventories, with which an editor completes and checks them.

    inv inventory.schema > inventory.schema.json, and in the first line of hosts.yaml:
    # yaml-language-server: $schema=inventory.schema.json
    """
    from plainstack import inventory_commands

    inventory_commands.schema()


lab = Collection("lab")
lab.add_task(up)
lab.add_task(down)
lab.add_task(lab_status, name="status")
lab.add_task(shell)
lab.add_task(break_host, name="break")
lab.add_task(mend)
lab.add_task(save)
lab.add_task(snapshots)
lab.add_task(forget)


@task(name="list", help={"inventory": SELECT["inventory"], **JSON})
def list_secrets(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """Show the names of all secrets, how old each is, and which roles use it; never a value."""
    from plainstack import secret_commands

    secret_commands.list_all(inventory, json=json)


@task(name="edit", help={"inventory": SELECT["inventory"]})
def edit_secrets(_c: Context, inventory: str = "hosts.yaml") -> None:
    """Change secrets in your editor (VISUAL or EDITOR), decrypted in memory only; shows which names changed."""
    from plainstack import secret_commands

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
    from plainstack import secret_commands

    help_if_asked(name, program, "secrets.rotate")
    secret_commands.rotate(inventory, name, revoke=revoke)


secrets = Collection("secrets")
secrets.add_task(list_secrets, name="list")
secrets.add_task(edit_secrets, name="edit")
secrets.add_task(rotate_secret, name="rotate")

inventories = Collection("inventory")
inventories.add_task(show_inventory, name="show")
inventories.add_task(schema)

namespace = Collection(plan, deploy, verify, status, drift, log, backup_now, trust, tunnel, inventories, lab, secrets)
