"""The vocabulary of desired state: what a role may ask of a host, as data.

A role yields these in any order within a kind. A wave applies them as one transaction: groups, users, directories,
files and links first (staged, validated as a whole, then put in place together), then units and commands in the order
the role named them. Packages, preseeds and files marked `early` belong to the package transaction before all waves.
"""

from __future__ import annotations

from plainstack.engine.kinds.command import Command, Payload, Validation
from plainstack.engine.kinds.group import Group
from plainstack.engine.kinds.kind import Resource
from plainstack.engine.kinds.package import Package, Preseed
from plainstack.engine.kinds.path_resources import Absent, Directory, File, Link
from plainstack.engine.kinds.sysctl import Sysctl
from plainstack.engine.kinds.timer import Timer
from plainstack.engine.kinds.unit import Unit
from plainstack.engine.kinds.user import User
from plainstack.engine.listeners import Listen

__all__ = [
    "Absent",
    "Command",
    "Directory",
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
