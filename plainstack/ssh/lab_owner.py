"""The owner of a lab: names of labs are global to this machine, so copies of an inventory must not share one.

Connections to the hosts of a lab pass `check`, so it reads only one small file.
"""

from __future__ import annotations

from pathlib import Path

from plainstack.ssh import netns
from plainstack.ssh.netns import LabDown, LabError
from plainstack.ssh.reach import Reach

DISKS = Path("/var/lib/plainstack-lab")
"""The folder of the disks of all labs."""

_FILE = "owner"


def require(stack: Reach) -> None:
    """Raise LabError if the lab of a stack belongs to another inventory, and LabDown if the lab is not up."""
    check_lab_of(stack)
    if not netns.is_up(f"plainstack-{stack.lab_name}"):
        raise LabDown


def check_lab_of(stack: Reach) -> None:
    """Raise LabError if the lab of a stack belongs to another inventory."""
    check(stack.lab_name, DISKS / stack.lab_name, stack.state / "lab")


def check(name: str, disks: Path, state: Path) -> None:
    """Raise LabError if the lab with these disks belongs to another state folder than `state`."""
    mine, theirs = state.resolve(), of(disks)
    if theirs not in (None, mine):
        raise LabError(
            f"there is already a lab {name} of {theirs} on this machine. Remove it there with inv lab.down,"
            f" or give the lab of this inventory a name of its own:\n    lab: {{name: {name}-2}}"
        )


def write(disks: Path, state: Path) -> None:
    """Record a state folder as the owner of a lab, in the folder of the lab's disks."""
    disks.mkdir(parents=True, exist_ok=True)
    (disks / _FILE).write_text(f"{state.resolve()}\n", encoding="utf-8")


def of(disks: Path) -> Path | None:
    """Return the state folder that owns the lab with these disks; None if it is unknown or gone."""
    try:
        folder = Path((disks / _FILE).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    return folder if folder.is_dir() else None
