"""The parts of a plan: ordered actions, grouped into the transactions that run them."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause
from plainstack.engine.kinds.command import Run, Validation
from plainstack.engine.kinds.package import Install, Preseed, Purge, Replace
from plainstack.engine.kinds.path_actions import Forget, Put, Remove
from plainstack.engine.kinds.path_resources import File
from plainstack.engine.kinds.sysctl import SetSysctl
from plainstack.engine.kinds.unit_actions import DaemonReload, UnitAction, UnitVerb
from plainstack.engine.kinds.user import MakeUser, RemoveUser
from plainstack.engine.observed import Entry
from plainstack.engine.teardown import farewell as last
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
    """Update the manifest of a host that already has its desired state."""

    cause: Cause = "interrupted"
    detail: str = "the manifest lacks the state"

    def subject(self) -> str:
        return "record the state"

    def steps(self, number: str, bundle: Bundle) -> None:
        """Add nothing: the transaction writes the manifest anyway."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """The actions for one role on one host, applied all or nothing by a single script.

    `manifest` is the role's manifest after success. `transition` is the manifest while the transaction runs: the union
    of `manifest`, the previous manifest and the states found before Plainstack. `stale` are the units whose recorded
    stamps become invalid once files change, each with the stamp that is valid until the unit loads its files. `lost` is
    true if the host no longer has the role. An `ahead` transaction holds only the actions that run on all hosts of the
    role before the first takes its turn; its `manifest` is the `transition`, because the role is not finished.
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
        """The name of this transaction, unique on its host."""
        return ahead_of(self.role) if self.ahead else self.role

    @property
    def visible(self) -> tuple[Action, ...]:
        """The actions that plans show."""
        return tuple(action for action in self.actions if not action.hidden)


def ahead_of(role: str) -> str:
    """Return the stage of the transaction that a role runs ahead."""
    return f"{role}.ahead"


@dataclass(frozen=True, slots=True)
class PackageTransaction:
    """The apt transaction of a host, with the files that must be written or removed before it.

    `removed` are the packages in `install` that were removed after Plainstack had installed them. `replaced` are the
    packages that apt will remove according to the probe; it may remove only those in `consented`.
    `cleared` are paths below /etc/apt that are removed before apt runs. `early` are the files that are written first,
    and `checks` the validations that read them and run before apt. `transition` holds, by role, the manifest entries
    that are valid while apt runs.
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
    """The plan of one host: its transactions in the order in which they run; only a teardown has a `farewell`."""

    host: str
    packages: PackageTransaction | None
    transactions: tuple[Transaction, ...]
    farewell: last.Farewell | None = None

    @property
    def empty(self) -> bool:
        return self.packages is None and not self.transactions and self.farewell is None

    def actions(self) -> Iterator[tuple[str, Action]]:
        """Yield the actions that plans show, with their role; those of the package transaction come first."""
        roles = {transaction.stage: transaction.role for transaction in self.transactions}
        for stage, action in self.by_stage():
            yield roles.get(stage, stage), action

    def by_stage(self) -> Iterator[tuple[str, Action]]:
        """Yield the actions that plans show, with their stage; those of the package transaction come first."""
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
        if self.farewell:
            for action in self.farewell.actions():
                yield last.STAGE, action
