"""`inv lab.*`: real Debian hosts on this machine."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli.help import help_if_asked
from plainstack.cli.options import JSON, SELECT


@task(
    help={
        "inventory": SELECT["inventory"],
        "from": "start from this snapshot (inv lab.snapshots) instead of bare hosts",
        "host": "start only these: db1[,db2...]",
    }
)
def up(_c: Context, inventory: str = "hosts.yaml", from_: str | None = None, host: str = "") -> None:
    """Start the inventory's hosts as Debian hosts with systemd on this machine (needs root).

    The inventory's `lab:` block configures them:

      name: shop-2                  the lab's name (default: the stack's name)
      visitors: {pc: {address: 192.168.57.50, public: 192.168.3.50}}
                                    hosts outside the stack; they resolve balancer.server_names
      disks: {db1: 500M}            how much a host can write
      sites: {west: [db2, lb2]}     hosts that share one link
      links: {west: {rate: 10M}, db1: {delay: 20ms, loss: 1%}}
                                    the link of a site or host, per direction; delay and loss need a kernel with netem
      debian: {app2: 12}            the Debian release of a host (default: 13)
      no_ipv6: [db1]                hosts without IPv6
      packages: [python3]           Debian packages that new hosts already have

    Changed links take effect at once. A running host is power-cycled if its other settings have changed. All hosts
    share this machine's clock.
    """
    from plainstack.cli import lab_commands

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
    """Save the lab's hosts and secrets as a snapshot: inv lab.save deployed; inv lab.up --from=deployed

    The hosts are stopped in order, so that databases shut down cleanly. Their disks become layers of the snapshot, so
    nothing is copied.
    """
    from plainstack.cli import lab_commands

    help_if_asked(name, program, "lab.save")
    lab_commands.save(inventory, name, down=down)


@task(help={"inventory": "ignored: a snapshot belongs to the machine", **JSON})
def snapshots(_c: Context, inventory: str = "", json: bool = False) -> None:  # noqa: ARG001 - every command takes --inventory
    """Show the snapshots of this machine: name, age, size, stack, image, commit, inventory."""
    from plainstack.cli import lab_commands

    lab_commands.snapshots(json=json)


@task(
    positional=["name"], help={"inventory": "ignored: a snapshot belongs to the machine", "name": "the snapshot's name"}
)
def forget(_c: Context, name: str, inventory: str = "") -> None:  # noqa: ARG001 - every command takes --inventory
    """Remove a snapshot: inv lab.forget deployed

    Labs that were saved as it or started from it keep working, and keep the space that they need until their next
    inv lab.save or lab.down.
    """
    from plainstack.cli import lab_commands

    help_if_asked(name, program, "lab.forget")
    lab_commands.forget(name)


@task(
    help={
        "inventory": SELECT["inventory"],
        "all": "list all labs on this machine, including those of other users, and ask before removing them",
        "yes": "with --all: do not ask (for scripts)",
    }
)
def down(_c: Context, inventory: str = "hosts.yaml", all: bool = False, yes: bool = False) -> None:
    """Remove the lab with its hosts and their disks."""
    from plainstack.cli import lab_commands

    lab_commands.down(inventory, every=all, yes=yes)


@task(name="status", help={"inventory": SELECT["inventory"]})
def lab_status(_c: Context, inventory: str = "hosts.yaml") -> None:
    """Show which lab hosts are up. The exit code is 0 if all are up, otherwise 1."""
    from plainstack.cli import lab_commands

    lab_commands.status(inventory)


@task(help={"inventory": SELECT["inventory"], "host": "the lab host to log in to"}, positional=["host"])
def shell(_c: Context, host: str, inventory: str = "hosts.yaml") -> None:
    """Log in to a lab host: inv lab.shell db1"""
    from plainstack.cli import lab_commands

    help_if_asked(host, program, "lab.shell")
    lab_commands.shell(inventory, host)


@task(
    name="break",
    positional=["host"],
    help={
        "inventory": SELECT["inventory"],
        "host": "the lab host",
        "cut": "pull its network cables",
        "freeze": "suspend it: connections stay open, but nothing answers",
        "fill-disk": "fill its disk, which must be of limited size (lab.disks in the inventory)",
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
    from plainstack.cli import lab_commands

    help_if_asked(host, program, "lab.break")
    lab_commands.break_host(
        inventory, host, cut=cut, freeze=freeze, fill_disk=fill_disk, reboot=reboot, power_off=power_off
    )


@task(positional=["host"], help={"inventory": SELECT["inventory"], "host": "the lab host"})
def mend(_c: Context, host: str, inventory: str = "hosts.yaml") -> None:
    """Undo what inv lab.break did to a host; a powered-off host is booted."""
    from plainstack.cli import lab_commands

    help_if_asked(host, program, "lab.mend")
    lab_commands.mend(inventory, host)


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
