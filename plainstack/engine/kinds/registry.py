"""The registry of all kinds of resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plainstack.engine.kinds import paths
from plainstack.engine.kinds.command import COMMAND, VALIDATION
from plainstack.engine.kinds.group import GROUP
from plainstack.engine.kinds.kind import Kind, Look, Resource
from plainstack.engine.kinds.package import PACKAGE, PRESEED
from plainstack.engine.kinds.sysctl import SYSCTL
from plainstack.engine.kinds.timer import TIMER
from plainstack.engine.kinds.unit import UNIT
from plainstack.engine.kinds.user import USER
from plainstack.engine.observed import Entry

KINDS: tuple[Kind[Any], ...] = (
    *paths.KINDS,
    PACKAGE,
    PRESEED,
    GROUP,
    USER,
    SYSCTL,
    UNIT,
    TIMER,
    COMMAND,
    VALIDATION,
)

LOOKS: tuple[Look, ...] = tuple(dict.fromkeys(look for kind in KINDS for look in kind.looks))
"""The parts of the probe, in the order in which they run."""

_BY_RESOURCE: Mapping[type[Resource], Kind[Any]] = {kind.resource: kind for kind in KINDS}
_BY_NAME: Mapping[str, Kind[Any]] = {kind.name: kind for kind in KINDS}


def kind_of(item: Resource) -> Kind[Any]:
    """Return the kind of a resource."""
    return _BY_RESOURCE[type(item)]


def kind_named(name: str) -> Kind[Any] | None:
    """Return the kind with this name in manifests; None if this version of Plainstack does not know it."""
    return _BY_NAME.get(name)


def place(kind: Kind[Any] | None, key: str) -> str:
    """Return the place that a key stands for: the path for kinds that have one, otherwise the key itself."""
    folder = kind.folder if kind else None
    return key if folder is None else folder + key.partition(" ")[2]


def place_of(item: Resource) -> str:
    """Return the place of a resource; two different resources with the same place are in conflict."""
    return place(kind_of(item), item.key)


def place_left(entry: Entry) -> str:
    """Return the place of a manifest entry."""
    return place(kind_named(entry.kind), entry.key)
