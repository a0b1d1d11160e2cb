"""The last transaction of a teardown on a host: packages, accounts, data, and Plainstack's own records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause

if TYPE_CHECKING:
    from plainstack.engine.sayings import Leftover
    from plainstack.engine.transaction.bundle import Bundle

STAGE = "host"


@dataclass(frozen=True, slots=True)
class Clear(Action):
    """A part of the last transaction, as plans show it."""

    verb: str
    names: tuple[str, ...]
    detail: str
    cause: Cause = "undeclared"

    counted: ClassVar[str] = "removal"

    @property
    def count(self) -> int:
        return len(self.names)

    def subject(self) -> str:
        return f"{self.verb} {' '.join(self.names)}"

    def steps(self, number: str, bundle: Bundle) -> None:
        """Add nothing: the last transaction generates its own steps."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """What is left to remove when the roles of a host are gone.

    `purge` are packages that Plainstack installed; those in `remove` would delete data that stays if they were purged.
    `users`, `groups` and `folders` came with Plainstack or with these packages. `paths` are deleted with everything
    below them. `stays` is data that the operator did not ask to remove; `unknown` are packages of which the host does
    not record whether Plainstack installed them. `data` is true if all data goes.
    """

    purge: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    paths: tuple[Leftover, ...] = ()
    stays: tuple[Leftover, ...] = ()
    unknown: tuple[str, ...] = ()
    data: bool = False

    def actions(self) -> Iterator[Action]:
        """Yield what plans show."""
        if self.purge:
            yield Clear("purge", self.purge, "Plainstack installed them")
        if self.remove:
            yield Clear("uninstall", self.remove, "Plainstack installed them; a purge would delete their data")
        for one in self.paths:
            yield Clear("delete", (one.path,), one.what)
        if self.users:
            yield Clear("remove users", self.users, "unless files stay that they own")
        if self.groups:
            yield Clear("remove groups", self.groups, "unless files stay that they own")
        yield Clear("forget", ("this host",), "Plainstack's records on it")
