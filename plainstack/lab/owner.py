"""The owner of a lab, for the lab commands; see plainstack.ssh.lab_owner."""

from __future__ import annotations

from pathlib import Path

from plainstack.lab import model
from plainstack.lab.model import Lab
from plainstack.ssh import lab_owner


def write(lab: Lab, disks: Path) -> None:
    """Record the lab's state folder as its owner, in the folder of the disks."""
    lab_owner.write(disks, lab.state)


def of(name: str) -> Path | None:
    """Return the state folder that owns a lab; None if it is unknown or gone."""
    return lab_owner.of(model.disks(name))


def check(lab: Lab) -> None:
    """Raise LabError if the lab belongs to another inventory."""
    lab_owner.check(lab.name, lab.disks, lab.state)
