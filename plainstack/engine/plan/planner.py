"""(desired, observed) -> Plan: a pure comparison; absent means create, undeclared means remove."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from plainstack.engine.observed import Entry, Observed, PathState
from plainstack.engine.plan.actions import (
    Action,
    HostPlan,
    PackageTransaction,
    Put,
    Record,
    Remove,
    Run,
    Transaction,
    UnitAction,
)
from plainstack.engine.plan.ahead import split
from plainstack.engine.plan.compare import (
    Stamp,
    is_served,
    path_actions,
    removals,
    seen_state,
    state_of,
    sysctl_actions,
    user_actions,
)
from plainstack.engine.plan.manifest import entries_between, manifest_entries
from plainstack.engine.plan.units import daemon_reload, stale_stamps, unit_actions
from plainstack.engine.resources import (
    Absent,
    Command,
    Directory,
    File,
    Link,
    Package,
    Preseed,
    Resource,
    Sysctl,
    Unit,
    User,
    Validation,
)

__all__ = ["Desired", "Stamp", "consented", "plan", "state_of"]

_FOLDER = PathState("directory", 0o755, "root", "root")
# Within one role: an account before what it owns, a folder before what lies in it.
_ORDER = (User, Directory, File, Link, Absent, Sysctl)

Desired = Mapping[str, Sequence[Resource]]
"""What every role of one host wants, in the order the roles are applied."""


def plan(host: str, desired: Desired, observed: Observed, stamp: Stamp, scope: Iterable[str] | None = None) -> HostPlan:
    """What `host` lacks. `desired` holds all its roles; `scope` limits the plan to some of them, None means all.

    A role that the host once had and has no more loses its units and files, unless the scope is limited.
    """
    chosen = {role: wanted for role, wanted in desired.items() if scope is None or role in set(scope)}
    rewritten = _rewritten(chosen, observed)
    lost = [] if scope is not None else sorted(role for role in observed.manifest if role not in desired)
    transactions = [
        transaction
        for role in (*lost, *chosen)
        for transaction in _transactions(role, chosen.get(role, ()), desired, observed, stamp, rewritten)
    ]
    done = [transaction for transaction in transactions if transaction.actions]
    if observed.leftovers and not observed.guard_pending and not done and transactions:
        cleaning = Record(detail="an interrupted run left its staging behind")
        done = [replace(transactions[0], actions=(cleaning,))]
    packages = _packages(chosen, lost, observed)
    if packages:
        packages = replace(
            packages,
            cleared=tuple(path for work in done for path in _in_apts_way(work)),
            transition=tuple(_before_apt(done, chosen, packages, observed).items()),
        )
    return HostPlan(host=host, packages=packages, transactions=tuple(done))


def _packages(desired: Desired, lost: Sequence[str], observed: Observed) -> PackageTransaction | None:
    wanted = [item for resources in desired.values() for item in resources]
    packages = {item.name: item for item in wanted if isinstance(item, Package)}
    missing = tuple(name for name, item in packages.items() if not is_served(item, observed))
    ours = [
        entry
        for role, entries in observed.manifest.items()
        for entry in entries
        if entry.kind == "package" and (role in desired or role in lost)
    ]
    purge = tuple(dict.fromkeys(entry.name for entry in ours if _must_go(entry, packages, observed)))
    if not missing and not purge:
        return None
    early = tuple(item for item in wanted if isinstance(item, File) and item.early)
    return PackageTransaction(
        install=missing,
        removed=tuple(name for name in missing if len({entry.state for entry in ours if entry.name == name}) == 1),
        purge=purge,
        replaced=tuple(name for name in observed.removes if missing),
        consented=tuple(sorted(consented(desired))) if missing else (),
        early=early,
        checks=tuple(
            item
            for item in wanted
            if isinstance(item, Validation) and any(file.path.startswith(item.reads) for file in early)
        ),
        preseeds=tuple(item for item in wanted if isinstance(item, Preseed) and item.package in missing),
    )


def consented(desired: Desired) -> frozenset[str]:
    """The packages that a declared one may push out."""
    everything = (item for wanted in desired.values() for item in wanted)
    return frozenset(name for item in everything if isinstance(item, Package) for name in item.replaces)


def _before_apt(
    done: Iterable[Transaction], chosen: Desired, packages: PackageTransaction, observed: Observed
) -> dict[str, tuple[Entry, ...]]:
    """What the manifests must hold while apt works, by role.

    A role whose files are placed or removed then notes all that it is going to change. One whose packages come notes
    those and its units: a package enables its daemon, and a host that boots before the role's turn starts it.
    """
    noted = {}
    for work in done:
        wanted = chosen.get(work.role, ())
        known = observed.manifest.get(work.role, ())
        if any(item in packages.early for item in wanted) or _in_apts_way(work):
            noted[work.role] = work.transition
        elif any(isinstance(item, Package) and item.name in packages.install for item in wanted):
            noted[work.role] = tuple(
                entry for entry in work.transition if entry.kind in ("package", "unit") or entry in known
            )
    return noted


def _in_apts_way(work: Transaction) -> list[str]:
    """What apt must not read any more: a proxy that is dead, or a source that is gone, would fail every run."""
    return [
        action.path
        for action in work.actions
        if isinstance(action, Remove)
        and (action.cause, action.kind) in (("undeclared", "file"), ("undeclared", "link"))
        and action.path.startswith("/etc/apt/")
    ]


def _must_go(entry: Entry, declared: Container[str], observed: Observed) -> bool:
    return entry.state == "purge" and entry.name not in declared and entry.name in observed.packages


def _rewritten(desired: Desired, observed: Observed) -> frozenset[str]:
    """The paths that this plan will write: a unit that reads one of them is not what its stamp says any more."""
    return frozenset(
        item.path
        for resources in desired.values()
        for item in resources
        if (isinstance(item, File | Link) and state_of(item) != seen_state(observed.paths.get(item.path)))
        or (isinstance(item, Absent) and observed.paths.get(item.path, _FOLDER).kind != "directory")
    )


def _absent(item: Absent, wanted: Sequence[Resource], observed: Observed) -> Iterator[Action]:
    there = observed.paths.get(item.path)
    if there is not None:
        if there.kind != "directory":
            yield Remove(item.path, there.kind, "changed", "must be absent")
    elif any(isinstance(other, Package) and not is_served(other, observed) for other in wanted):
        # The plan is older than the packages that it installs, and it is a package that brings the file.
        yield Remove(item.path, "file", "changed", "must be absent, should a package bring it")


def _transactions(
    role: str,
    wanted: Sequence[Resource],
    desired: Desired,
    observed: Observed,
    stamp: Stamp,
    rewritten: frozenset[str],
) -> list[Transaction]:
    """What is done for a role: in one transaction, or in two where some of it is done ahead."""
    ours: dict[str, list[Entry]] = {}
    for entry in observed.manifest.get(role, ()):
        ours.setdefault(entry.key, []).append(entry)
    everything = [item for resources in desired.values() for item in resources]
    actions: list[Action] = []
    actions += removals(ours, wanted, everything, observed)
    for item in sorted(wanted, key=lambda item: _ORDER.index(type(item)) if isinstance(item, _ORDER) else len(_ORDER)):
        if isinstance(item, User):
            actions += user_actions(item, ours, observed)
        elif isinstance(item, File | Directory | Link):
            actions += path_actions(item, ours, observed)
        elif isinstance(item, Sysctl):
            actions += sysctl_actions(item, ours, observed)
        elif isinstance(item, Absent):
            actions += _absent(item, wanted, observed)
    actions += daemon_reload(role, wanted, observed, _touched(actions))
    for item in wanted:
        if isinstance(item, Unit):
            actions += unit_actions(item, ours, everything, observed, rewritten)
        elif isinstance(item, Command):
            actions += _commands(item, observed, recheck=bool(actions))
    entries = tuple(manifest_entries(wanted, ours, observed, stamp))
    if not actions and {(e.key, e.state) for e in entries} != {(e.key, e.state) for es in ours.values() for e in es}:
        actions.append(Record())
    between = entries_between(entries, ours, observed)
    transition = tuple(dict.fromkeys([*between, *(entry for same in ours.values() for entry in same), *entries]))

    def part(actions: Sequence[Action], manifest: tuple[Entry, ...], *, ahead: bool = False) -> Transaction:
        touched = _touched(actions)
        return Transaction(
            role=role,
            actions=tuple(actions),
            validations=tuple(
                item
                for item in wanted
                if isinstance(item, Validation) and any(path.startswith(item.reads) for path in touched)
            ),
            manifest=manifest,
            transition=transition,
            stale=tuple(sorted(stale_stamps(role, wanted, ours, everything, observed, touched).items())),
            lost=role not in desired,
            guarded=any(
                isinstance(action, UnitAction) and action.unit.guarded and action.verb in ("start", "restart", "reload")
                for action in actions
            ),
            ahead=ahead,
        )

    first, rest = split(actions)
    return [*([part(first, transition, ahead=True)] if first else []), part(rest, entries)]


def _touched(actions: Iterable[Action]) -> set[str]:
    written = {action.resource.path for action in actions if isinstance(action, Put)}
    return written | {action.path for action in actions if isinstance(action, Remove)}


def _commands(item: Command, observed: Observed, *, recheck: bool) -> Iterator[Run]:
    if not observed.guards.get(item.name, False):
        yield Run(item)
    elif recheck and item.payload is None:
        # Judged before this plan's own changes: a guard such as "at most five releases" may not hold after them.
        yield Run(item, recheck=True)
