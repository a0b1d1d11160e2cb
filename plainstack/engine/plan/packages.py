"""Plan the apt transaction of a host: the packages to install and purge for all roles, and the files it needs first."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from plainstack.engine.kinds.package import PURGE, is_served
from plainstack.engine.observed import Entry, Observed
from plainstack.engine.plan.actions import PackageTransaction, Remove, Transaction
from plainstack.engine.resources import File, Package, Preseed, Resource, Validation

Desired = Mapping[str, Sequence[Resource]]
"""The resources of each role of a host, in the order in which the roles are applied."""


def packages(desired: Desired, lost: Sequence[str], observed: Observed) -> PackageTransaction | None:
    """Return the apt transaction of a host for these roles; None if nothing is to be installed or purged."""
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
    """Return the packages that apt may remove to install a declared package."""
    everything = (item for wanted in desired.values() for item in wanted)
    return frozenset(name for item in everything if isinstance(item, Package) for name in item.replaces)


def before_apt(
    done: Iterable[Transaction], chosen: Desired, packages: PackageTransaction, observed: Observed
) -> dict[str, tuple[Entry, ...]]:
    """Return the manifest entries that must be written before apt runs, by role.

    If the apt transaction writes or removes files of a role, these are the entries of everything that the role will
    change. If it only installs packages of the role, they are the entries of the role's packages and units: a package
    enables its daemon, which starts if the host reboots before the role's transaction.
    """
    noted = {}
    for work in done:
        wanted = chosen.get(work.role, ())
        known = observed.manifest.get(work.role, ())
        if any(item in packages.early for item in wanted) or in_apts_way(work):
            noted[work.role] = work.transition
        elif any(isinstance(item, Package) and item.name in packages.install for item in wanted):
            noted[work.role] = tuple(
                entry for entry in work.transition if entry.kind in ("package", "unit") or entry in known
            )
    return noted


def in_apts_way(work: Transaction) -> list[str]:
    """Return the undeclared files below /etc/apt to remove before apt runs: a dead proxy or source makes apt fail."""
    return [
        action.path
        for action in work.actions
        if isinstance(action, Remove)
        and (action.cause, action.kind) in (("undeclared", "file"), ("undeclared", "link"))
        and action.path.startswith("/etc/apt/")
    ]


def _must_go(entry: Entry, declared: Container[str], observed: Observed) -> bool:
    return entry.state == PURGE and entry.name not in declared and entry.name in observed.packages
