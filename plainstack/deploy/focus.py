"""Limits a run to a part of what roles want, such as one service: its plans leave everything else as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from plainstack.engine.desired import HostDesired
from plainstack.engine.resources import Resource
from plainstack.inventory.stack import Stack


@dataclass(frozen=True)
class Focus:
    """A part of a stack: the resources of `roles` that `without`, the stack without the part, does not want.

    `also` are keys of resources that belong to the part even when the stack does not want them, so that a plan may
    remove them. The resources for which `leaves` is true do not belong to it.
    """

    roles: tuple[str, ...]
    without: Callable[[Stack], Stack]
    also: frozenset[str] = frozenset()
    leaves: Callable[[Resource], bool] = lambda _: False

    def keys(self, wanted: HostDesired, others: HostDesired) -> frozenset[str]:
        """Return the keys of the part's resources on a host; `others` is what the host wants without the part."""
        left = {item.key for role in self.roles for item in wanted.get(role, ()) if self.leaves(item)}
        return (self.also | (self._keys(wanted) - self._keys(others))) - left

    def _keys(self, wanted: HostDesired) -> frozenset[str]:
        return frozenset(item.key for role in self.roles for item in wanted.get(role, ()))
