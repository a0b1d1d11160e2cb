"""The owner of a lab: names of labs are global to this machine, so copies of an inventory must not share one."""

from __future__ import annotations

from pathlib import Path

from plainstack.lab import model
from plainstack.lab.model import Lab
from plainstack.ssh.netns import LabError

_FILE = "owner"


def write(lab: Lab, disks: Path) -> None:
    """Record the lab's state folder as its owner, in the folder of the disks."""
    disks.mkdir(parents=True, exist_ok=True)
    (disks / _FILE).write_text(f"{lab.state.resolve()}\n", encoding="utf-8")


def of(name: str) -> Path | None:
    """Return the state folder that owns a lab; None if it is unknown or gone."""
    try:
        folder = Path((model.disks(name) / _FILE).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    return folder if folder.is_dir() else None


def check(lab: Lab) -> None:
    """Raise LabError if the lab belongs to another inventory."""
    mine, theirs = lab.state.resolve(), of(lab.name)
    if theirs not in (None, mine):
        raise LabError(
            f"there is already a lab {lab.name} of {theirs} on this machine. Remove it there with inv lab.down,"
            f" or give the lab of this inventory a name of its own:\n    lab: {{name: {lab.name}-2}}"
        )
