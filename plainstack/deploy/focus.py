"""Limits a run to some of the resources, such as those of one service; plans leave all others as they are."""

from __future__ import annotations

from collections.abc import Callable

from plainstack.dataclass import dataclass
from plainstack.engine.desired import HostDesired
from plainstack.engine.resources import Resource
from plainstack.inventory.stack import Stack


@dataclass(frozen=True)
class Focus:
    """A part of a stack: the resources of `roles` that are not declared once `without` has removed the part.

    `also` are keys of resources that belong to the part even if they are not declared now, so that a plan may remove
    them. The resources for which `leaves` is true do not belong to it.
    """

    roles: tuple[str, ...]
    without: Callable[[Stack], Stack]
    also: frozenset[str] = frozenset()
    leaves: Callable[[Resource], bool] = lambda _: False

    def keys(self, wanted: HostDesired, others: HostDesired) -> frozenset[str]:
        """Return the keys of the part's resources on a host; `others` is the host's desired state without the part."""
        left = {item.key for role in self.roles for item in wanted.get(role, ()) if self.leaves(item)}
        return (self.also | (self._keys(wanted) - self._keys(others))) - left

    def _keys(self, wanted: HostDesired) -> frozenset[str]:
        return frozenset(item.key for role in self.roles for item in wanted.get(role, ()))
