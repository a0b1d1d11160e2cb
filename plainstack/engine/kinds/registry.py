"""All kinds of resource that there are."""

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
"""The parts of a probe, in the order in which it does them."""

_BY_RESOURCE: Mapping[type[Resource], Kind[Any]] = {kind.resource: kind for kind in KINDS}
_BY_NAME: Mapping[str, Kind[Any]] = {kind.name: kind for kind in KINDS}


def kind_of(item: Resource) -> Kind[Any]:
    """The kind of a resource."""
    return _BY_RESOURCE[type(item)]


def kind_named(name: str) -> Kind[Any] | None:
    """The kind that manifests call so; None for one that only another version of Plainstack knows."""
    return _BY_NAME.get(name)


def place(kind: Kind[Any] | None, key: str) -> str:
    """What a key stands for: a path for whatever kind lies at one, otherwise the key itself."""
    folder = kind.folder if kind else None
    return key if folder is None else folder + key.partition(" ")[2]


def place_of(item: Resource) -> str:
    """What a resource is about; two resources with the same place exclude each other."""
    return place(kind_of(item), item.key)


def place_left(entry: Entry) -> str:
    """What a manifest's entry is about."""
    return place(kind_named(entry.kind), entry.key)
