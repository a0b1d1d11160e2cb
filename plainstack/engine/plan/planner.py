"""(desired, observed) -> HostPlan: a pure comparison that creates what is missing and removes what is undeclared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from plainstack.engine.kinds.action import Action, Rank
from plainstack.engine.kinds.kind import Leaves, Situation
from plainstack.engine.kinds.paths import state_of, writes
from plainstack.engine.kinds.registry import kind_named, kind_of, place_left, place_of
from plainstack.engine.observed import Entry, Observed
from plainstack.engine.plan.actions import HostPlan, Record, Remove, Transaction, UnitAction
from plainstack.engine.plan.ahead import split
from plainstack.engine.plan.author import Stamp
from plainstack.engine.plan.manifest import entries_between, manifest_entries
from plainstack.engine.plan.packages import Desired, before_apt, consented, in_apts_way, packages
from plainstack.engine.plan.units import daemon_reload, stale_stamps
from plainstack.engine.resources import File, Package, Preseed, Resource, Unit, Validation
from plainstack.engine.stamps import is_unit_file

__all__ = ["Desired", "Stamp", "consented", "plan", "state_of"]


def plan(
    host: str,
    desired: Desired,
    observed: Observed,
    stamp: Stamp,
    scope: Iterable[str] | None = None,
    only: Collection[str] | None = None,
) -> HostPlan:
    """Return the plan of a host. `desired` holds all its roles; `scope` names the roles to plan, None means all.

    Without a scope, the plan also removes the units and files of roles that the host no longer has. With `only`, the
    keys of resources, it plans nothing for other resources, and no package transaction.
    """
    if only is not None:
        only = {*only} - {item.key for wanted in desired.values() for item in wanted if _by_apt(item)}
    chosen = {role: wanted for role, wanted in desired.items() if scope is None or role in set(scope)}
    rewritten = _rewritten({role: _limited(wanted, only) for role, wanted in chosen.items()}, observed)
    lost = [] if scope is not None else sorted(role for role in observed.manifest if role not in desired)
    transactions = [
        transaction
        for role in (*lost, *chosen)
        for transaction in _transactions(role, chosen.get(role, ()), desired, observed, stamp, rewritten, only)
    ]
    done = [transaction for transaction in transactions if transaction.actions]
    if observed.leftovers and not observed.guard_pending and not done and transactions:
        cleaning = Record(detail="an interrupted run left files behind")
        done = [replace(transactions[0], actions=(cleaning,))]
    apt = packages(chosen, lost, observed) if only is None else None
    if apt:
        apt = replace(
            apt,
            cleared=tuple(path for work in done for path in in_apts_way(work)),
            transition=tuple(before_apt(done, chosen, apt, observed).items()),
        )
    return HostPlan(host=host, packages=apt, transactions=tuple(done))


def _rewritten(desired: Desired, observed: Observed) -> frozenset[str]:
    """Return the paths that this plan writes; a unit that reads one of them owes a reload or restart."""
    return frozenset(path for resources in desired.values() for item in resources for path in writes(item, observed))


def _transactions(
    role: str,
    wanted: Sequence[Resource],
    desired: Desired,
    observed: Observed,
    stamp: Stamp,
    rewritten: frozenset[str],
    only: Collection[str] | None,
) -> list[Transaction]:
    """Return the transaction of a role, or two if some of its actions run ahead."""
    ours: dict[str, list[Entry]] = {}
    for entry in observed.manifest.get(role, ()):
        ours.setdefault(entry.key, []).append(entry)
    if only is not None:
        # A file may replace a link at the same path.
        places = {place_of(item) for item in wanted if item.key in only}
        only = {*only, *(key for key, same in ours.items() if place_left(same[0]) in places)}
    left_alone = [entry for key, same in ours.items() if only is not None and key not in only for entry in same]
    ours = {key: same for key, same in ours.items() if only is None or key in only}
    everything = [item for resources in desired.values() for item in resources]
    limited = _limited(wanted, only)
    situation = Situation(role, limited, everything, ours, observed, rewritten)
    removals, in_order = _removals(situation), _in_order(situation)
    later = _in_use(removals, wanted, _touched(in_order))
    actions = [*(action for action in removals if action not in later), *in_order]
    if only is None or any(is_unit_file(path) for path in _touched(actions)):
        actions += daemon_reload(role, wanted, observed, _touched(actions))
    for item in limited:
        if kind_of(item).rank is Rank.AS_NAMED:
            actions += kind_of(item).compare(item, replace(situation, begun=bool(actions)))
    actions += later
    entries = tuple(manifest_entries(situation, stamp))
    if not actions and {(e.key, e.state) for e in entries} != {(e.key, e.state) for es in ours.values() for e in es}:
        actions.append(Record())
    between = entries_between(entries, situation)
    before = [entry for same in ours.values() for entry in same]
    transition = tuple(dict.fromkeys([*between, *before, *left_alone, *entries]))

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
    return [*([part(first, transition, ahead=True)] if first else []), part(rest, (*left_alone, *entries))]


def _by_apt(item: Resource) -> bool:
    return isinstance(item, Package | Preseed) or (isinstance(item, File) and item.early)


def _limited(wanted: Sequence[Resource], only: Collection[str] | None) -> Sequence[Resource]:
    return wanted if only is None else [item for item in wanted if item.key in only]


def _removals(situation: Situation) -> list[Action]:
    """Return the actions for the entries of a role's manifest that no role declares any more."""
    declared = {item.key for item in situation.everything}
    found = []
    for key, left in situation.ours.items():
        kind = kind_named(left[-1].kind)
        if kind and kind.remembered and key not in declared:
            # Remove nested directories before their parents.
            depth = len(left[-1].name) if kind.remembered.leaves is Leaves.FOLDERS else 0
            found += [(kind.remembered.leaves, -depth, action) for action in kind.remembered.removed(left, situation)]
    return [action for _, _, action in sorted(found, key=lambda one: one[:2])]


def _in_use(removals: Sequence[Action], wanted: Sequence[Resource], written: Collection[str]) -> list[Action]:
    """Return the removals of paths that a unit needs until it has loaded its new configuration."""
    folders = tuple(folder for item in wanted if isinstance(item, Unit) for folder in item.in_use)
    return [
        action
        for action in removals
        if isinstance(action, Remove) and action.path not in written and f"{action.path}/".startswith(folders)
    ]


def _in_order(situation: Situation) -> list[Action]:
    """Return the actions that run in order of rank, not in the order in which the role yields its resources."""
    found: list[tuple[Rank, Action]] = []
    for item in situation.wanted:
        kind = kind_of(item)
        if kind.rank is not Rank.AS_NAMED:
            for action in kind.compare(item, situation):
                found.append((kind.rank if action.rank is None else action.rank, action))
    return [action for _, action in sorted(found, key=lambda one: one[0])]


def _touched(actions: Iterable[Action]) -> set[str]:
    return {path for action in actions for path in action.touches}
