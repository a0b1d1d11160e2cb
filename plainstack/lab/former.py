"""Former hosts: those that a lab still has, although they are no longer in its inventory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from plainstack.lab import cgroup, container, network
from plainstack.lab.disk import Disk
from plainstack.lab.model import Lab

# The end of a host's cable; see model._cable. Bridges of branches have an h or an s there.
_CABLE = re.compile(r"(private|public)-[0-9a-f]+")


def states(lab: Lab) -> dict[str, bool]:
    """Return the names of the former hosts, and whether each is running."""
    current = {host.name for host in lab.hosts}
    running = {path.name for path in (cgroup.tree() / lab.name).glob("[!.]*") if cgroup.alive(path)}
    disks = {path.name for path in lab.disks.glob("[!.]*") if Disk(path).exists}
    return {name: name in running for name in sorted((running | disks) - current)}


def power_off(lab: Lab, report: Callable[[str, str], None]) -> None:
    """Cut the power of the former hosts that are running; their disks stay."""
    names = [name for name, running in states(lab).items() if running]
    if not names:
        return
    # Unplug first, as container.power_off does.
    alive = {cable.end for host in lab.hosts if container.alive(lab, host) for cable in host.cables}
    network.change(lab, plan(network.observe(lab), alive))
    for name in names:
        cgroup.remove(cgroup.tree() / lab.name / name)
        report(name, "is not in the inventory any more: powered off. inv lab.down removes its disk")


def plan(links: Mapping[str, network.Link], kept: set[str]) -> list[str]:
    """Return the ip commands that remove all cables except those whose ends are in `kept`."""
    return [f"link delete {name}" for name in links if _CABLE.fullmatch(name) and name not in kept]
