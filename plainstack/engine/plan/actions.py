"""What a plan is made of: actions in order, grouped into the transactions that will do them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from plainstack.engine.kinds.action import Action, Cause
from plainstack.engine.kinds.command import Run, Validation
from plainstack.engine.kinds.package import Install, Preseed, Purge, Replace
from plainstack.engine.kinds.path_actions import Forget, Put, Remove
from plainstack.engine.kinds.path_resources import File
from plainstack.engine.kinds.sysctl import SetSysctl
from plainstack.engine.kinds.unit_actions import DaemonReload, UnitAction, UnitVerb
from plainstack.engine.kinds.user import MakeUser, RemoveUser
from plainstack.engine.observed import Entry
from plainstack.engine.transaction.bundle import Bundle

__all__ = [
    "Action",
    "Cause",
    "DaemonReload",
    "Forget",
    "HostPlan",
    "Install",
    "MakeUser",
    "PackageTransaction",
    "Purge",
    "Put",
    "Record",
    "Remove",
    "RemoveUser",
    "Replace",
    "Run",
    "SetSysctl",
    "Transaction",
    "UnitAction",
    "UnitVerb",
    "ahead_of",
]


@dataclass(frozen=True, slots=True)
class Record(Action):
    """Bring the manifest up to date where the host already is as wanted."""

    cause: Cause = "interrupted"
    detail: str = "the manifest does not say what is so"

    def subject(self) -> str:
        return "record the state"

    def steps(self, number: str, bundle: Bundle) -> None:
        """The manifest that the transaction writes does it."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one exec does for one role on one host, all or nothing.

    `manifest` is the role's manifest after success, `transition` the union with the one before and with what was there
    before us; `stale` are units whose kept stamp is not true from the moment the files change, with what is true then.
    A `lost` role is one that the host has no more. One that is `ahead` holds only what is done on all hosts of the role
    before the first of them takes its turn; it leaves the role's manifest as an interrupted run would.
    """

    role: str
    actions: tuple[Action, ...]
    validations: tuple[Validation, ...] = ()
    manifest: tuple[Entry, ...] = ()
    transition: tuple[Entry, ...] = ()
    stale: tuple[tuple[str, str], ...] = ()
    guarded: bool = False
    lost: bool = False
    ahead: bool = False

    @property
    def stage(self) -> str:
        """What names this transaction among those of its host."""
        return ahead_of(self.role) if self.ahead else self.role

    @property
    def visible(self) -> tuple[Action, ...]:
        """The actions that a person is shown."""
        return tuple(action for action in self.actions if not action.hidden)


def ahead_of(role: str) -> str:
    """The stage of what a role does ahead of its turns."""
    return f"{role}.ahead"


@dataclass(frozen=True, slots=True)
class PackageTransaction:
    """The one apt transaction of a host, with what must be there before it.

    Those of `install` that somebody removed are in `removed` too. `replaced` are the packages that apt is known to
    remove for it; it may remove none that is not `consented`. `transition` are the manifests, by role, of the roles
    whose early files are written here, or whose files in apt's way are `cleared` here. `checks` are the validations
    that read early files; they run before apt is asked for anything.
    """

    install: tuple[str, ...]
    removed: tuple[str, ...] = ()
    purge: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    consented: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    early: tuple[File, ...] = ()
    checks: tuple[Validation, ...] = ()
    preseeds: tuple[Preseed, ...] = ()
    transition: tuple[tuple[str, tuple[Entry, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class HostPlan:
    """Everything one host lacks, in the order it will be done."""

    host: str
    packages: PackageTransaction | None
    transactions: tuple[Transaction, ...]

    @property
    def empty(self) -> bool:
        return self.packages is None and not self.transactions

    def actions(self) -> Iterator[tuple[str, Action]]:
        """All actions that a person is shown, with their role; the package transaction comes first."""
        roles = {transaction.stage: transaction.role for transaction in self.transactions}
        for stage, action in self.by_stage():
            yield roles.get(stage, stage), action

    def by_stage(self) -> Iterator[tuple[str, Action]]:
        """The same, with their stage."""
        if self.packages:
            new = tuple(name for name in self.packages.install if name not in self.packages.removed)
            if new:
                yield "packages", Install(new, "new")
            if self.packages.removed:
                yield "packages", Install(self.packages.removed, "drift", "was removed")
            if self.packages.replaced:
                yield "packages", Replace(self.packages.replaced)
            if self.packages.purge:
                yield "packages", Purge(self.packages.purge)
        for transaction in self.transactions:
            for action in transaction.visible:
                yield transaction.stage, action
