"""Faults of lab hosts, caused on purpose, and their repair; for tests, drills and the lab commands."""

from __future__ import annotations

from plainstack.lab import container, disk, limits, machine, network, up
from plainstack.lab.model import Lab, LabHost
from plainstack.ssh.netns import LabError

_FULL = "/plainstack-lab-full"
_FREE = f"rm -f {_FULL}"
_FILL = f"""
fallocate -l "$(df --output=avail --block-size=1 / | tail -n 1)" {_FULL} || :
cat /dev/zero >>{_FULL} 2>/dev/null || :
"""


def cut(lab: Lab, name: str) -> None:
    """Unplug a host's network cables."""
    network.switch(lab, _alive(lab, name), "down")


def freeze(lab: Lab, name: str) -> None:
    """Freeze a host: its connections stay open, but nothing answers."""
    container.set_frozen(lab, _alive(lab, name), freeze=True)


def fill_disk(lab: Lab, name: str) -> None:
    """Fill a host's disk completely. Raises LabError if its disk has no size limit."""
    host = _alive(lab, name)
    if not limits.limited(disk.of(lab, host)):
        raise LabError(
            f"{name}: its disk has no size limit. Set one in the inventory, then run inv lab.up:\n    lab:"
            f" {{disks: {{{name}: 1G}}}}"
        )
    container.run(lab, host, _FILL)


def power_off(lab: Lab, name: str) -> None:
    """Cut a host's power."""
    container.power_off(lab, _alive(lab, name))


def reboot(lab: Lab, name: str, report: up.Report) -> None:
    """Cut a host's power and boot it again."""
    host = up.running(lab, name, "lab.break")
    with machine.locked(lab.name, report):
        container.power_off(lab, host)
        up.start(lab, [host], report)


def mend(lab: Lab, name: str, report: up.Report = lambda _host, _what: None) -> None:
    """Undo every fault of a host: boot it or thaw it, plug in its cables, and free space on its disk.

    Raises LabError if its sshd does not answer afterwards.
    """
    host = up.running(lab, name, "lab.mend")
    with machine.locked(lab.name, report):
        if not container.alive(lab, host):
            _boot(lab, host, report)
        elif container.frozen(lab, host):
            container.set_frozen(lab, host, freeze=False)
        network.switch(lab, host, "up")
        container.run(lab, host, _FREE)
        if not container.await_ssh(lab, host):
            raise LabError(f"{name}: is mended, but its sshd does not answer. To boot it again: inv lab.up")


def _boot(lab: Lab, host: LabHost, report: up.Report) -> None:
    try:
        up.start(lab, [host], report)
    except LabError:
        # On a full disk, sshd cannot write its host keys.
        if not container.alive(lab, host):
            raise
        container.run(lab, host, _FREE)
        up.start(lab, [host], report)


def _alive(lab: Lab, name: str) -> LabHost:
    host = up.running(lab, name, "lab.break")
    if not container.alive(lab, host):
        raise LabError(f"{name} is powered off. To boot it: inv lab.mend {name}")
    return host
