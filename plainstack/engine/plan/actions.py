"""What a plan is made of: actions in order, grouped into the transactions that will do them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from plainstack.engine.observed import Entry
from plainstack.engine.resources import Command, Directory, File, Link, Preseed, Unit, User, Validation

Cause = Literal["new", "changed", "drift", "owed", "undeclared", "interrupted"]
UnitVerb = Literal["start", "restart", "reload", "stop", "enable", "disable", "unmask"]


@dataclass(frozen=True, slots=True)
class Install:
    """Install packages, in the package transaction."""

    packages: tuple[str, ...]
    cause: Cause
    detail: str = ""

    def subject(self) -> str:
        return f"install {' '.join(self.packages)}"


@dataclass(frozen=True, slots=True)
class Purge:
    """Remove packages that were declared to go when nobody declares them any more, in the package transaction."""

    packages: tuple[str, ...]
    cause: Cause = "undeclared"
    detail: str = "no longer declared"

    def subject(self) -> str:
        return f"purge {' '.join(self.packages)}"


@dataclass(frozen=True, slots=True)
class Replace:
    """Let apt remove packages that are in the way of what is installed, in the package transaction."""

    packages: tuple[str, ...]
    cause: Cause = "undeclared"
    detail: str = "in the way of what is installed"

    def subject(self) -> str:
        return f"remove {' '.join(self.packages)}"


@dataclass(frozen=True, slots=True)
class Put:
    """Make a file, directory or link what is wanted; `attributes` when only mode or owner differ."""

    resource: File | Directory | Link
    cause: Cause
    detail: str
    attributes: bool = False

    def subject(self) -> str:
        return f"{'set mode and owner of' if self.attributes else 'write'} {self.resource.path}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a path that Plainstack wrote and that is no longer declared, or one that must be absent.

    `kind` is file, link, directory (only if it is empty) or tree (a directory with all that is in it).
    """

    path: str
    kind: str
    cause: Cause
    detail: str

    @property
    def folder(self) -> bool:
        """Whether it is a directory that goes."""
        return self.kind in ("directory", "tree")

    def subject(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop a manifest entry without touching what it names, because that is no longer what Plainstack wrote."""

    entry: Entry
    detail: str
    cause: Cause = "undeclared"

    def subject(self) -> str:
        return f"leave {self.entry.name}"


@dataclass(frozen=True, slots=True)
class MakeUser:
    """Create an account, or set its home, shell and groups."""

    user: User
    create: bool
    cause: Cause
    detail: str

    def subject(self) -> str:
        return f"{'create' if self.create else 'change'} user {self.user.name}"


@dataclass(frozen=True, slots=True)
class RemoveUser:
    """Remove an account that Plainstack created; its files stay."""

    name: str
    cause: Cause = "undeclared"
    detail: str = "no longer declared"

    def subject(self) -> str:
        return f"remove user {self.name}"


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Give a kernel parameter its value."""

    name: str
    value: str
    cause: Cause
    detail: str

    def subject(self) -> str:
        return f"set {self.name} = {self.value}"


@dataclass(frozen=True, slots=True)
class UnitAction:
    """One systemctl verb on a unit, and the stamp the host keeps when it succeeded ("" for none)."""

    verb: UnitVerb
    unit: Unit
    cause: Cause
    detail: str
    stamp: str = ""

    def subject(self) -> str:
        return f"{self.verb} {self.unit.name}"


@dataclass(frozen=True, slots=True)
class DaemonReload:
    """Let systemd read changed unit files; remembered like a unit's own reload."""

    stamp: str
    cause: Cause
    detail: str = "unit files changed"

    def subject(self) -> str:
        return "daemon-reload"


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command whose guard was not satisfied.

    With `recheck` the guard was satisfied at the probe, and something before the command may have changed that: the
    host asks again and in most cases does nothing, so a plan does not list it.
    """

    command: Command
    cause: Cause = "new"
    detail: str = ""
    recheck: bool = False

    def subject(self) -> str:
        if self.recheck:
            return f"check {self.command.name} again"
        return f"run {self.command.name}: {self.command.why}"


@dataclass(frozen=True, slots=True)
class Record:
    """Bring the manifest up to date where the host already is as wanted."""

    cause: Cause = "interrupted"
    detail: str = "the manifest does not say what is so"

    def subject(self) -> str:
        return "record the state"


Action = (
    Install
    | Purge
    | Replace
    | Put
    | Remove
    | Forget
    | MakeUser
    | RemoveUser
    | SetSysctl
    | UnitAction
    | DaemonReload
    | Run
    | Record
)


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
        return tuple(action for action in self.actions if not (isinstance(action, Run) and action.recheck))


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
