"""The resources that roles declare as the desired state of a host.

A role may yield them in any order; only units, timers and commands are applied in the order in which it yields them.
One transaction applies a role's resources: first groups, users, directories, files, links and kernel parameters, then
units, timers and commands. New files are validated together before any is moved into place.
Packages, preseeds and `early` files belong to the host's package transaction, which runs before those of the roles.
"""

from __future__ import annotations

from plainstack.engine.kinds.command import Command, Fetched, Payload, Validation
from plainstack.engine.kinds.group import Group
from plainstack.engine.kinds.kind import Resource
from plainstack.engine.kinds.package import Package, Preseed
from plainstack.engine.kinds.path_resources import Absent, Directory, File, Link
from plainstack.engine.kinds.sysctl import Sysctl
from plainstack.engine.kinds.timer import Timer
from plainstack.engine.kinds.unit import HOPELESS, Unit
from plainstack.engine.kinds.user import User
from plainstack.engine.listeners import Listen

__all__ = [
    "HOPELESS",
    "Absent",
    "Command",
    "Directory",
    "Fetched",
    "File",
    "Group",
    "Link",
    "Listen",
    "Package",
    "Payload",
    "Preseed",
    "Resource",
    "Sysctl",
    "Timer",
    "Unit",
    "User",
    "Validation",
]
