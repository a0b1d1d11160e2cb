"""Restart units host by host, as a deploy does: in turns, under the hosts' locks, and until each is healthy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from typing import ClassVar

from plainstack.dataclass import dataclass
from plainstack.deploy.deployment import Deployment
from plainstack.engine.desired import HostDesired
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Transaction, UnitAction
from plainstack.engine.plan.planner import Stamp
from plainstack.engine.resources import Unit
from plainstack.engine.role import Errand


def restarts(
    host: str,
    desired: HostDesired,
    observed: Observed,
    units: Collection[str],
    health: Mapping[str, str],
) -> HostPlan:
    """Return a plan that does nothing but restart units: those of `units` that the host has and that should run.

    `health` replaces the health commands of units by name. The manifest and the stamps stay as they are: a change that
    is not deployed yet stays a change.
    """
    transactions = []
    for role, resources in desired.items():
        actions = tuple(
            UnitAction("restart", _with_health(item, health), "changed", "", observed.stamps.get(item.name, ""))
            for item in resources
            if isinstance(item, Unit) and item.running and item.name in units and _is_installed(item, observed)
        )
        if actions:
            kept = observed.manifest.get(role, ())
            transactions.append(Transaction(role=role, actions=actions, manifest=kept, transition=kept))
    return HostPlan(host=host, packages=None, transactions=tuple(transactions))


def _with_health(unit: Unit, health: Mapping[str, str]) -> Unit:
    return replace(unit, health=health[unit.name]) if unit.name in health else unit


def _is_installed(unit: Unit, observed: Observed) -> bool:
    seen = observed.units.get(unit.name)
    return seen is not None and seen.load == "loaded"


@dataclass
class Restart(Deployment):
    """A deployment whose plans restart units, in the order and with the pauses of a deploy."""

    restarting: Mapping[str, HostPlan] = field(default_factory=dict)

    afterwards: ClassVar[Mapping[str, str]] = {
        "untouched": "nothing was restarted",
        "rolled-back": "it is not healthy, and was restarted once more",
        "half-undone": "it does not start",
    }

    def _errands(self) -> Sequence[Errand]:
        return ()

    def _plan(self, name: str, _stamp: Stamp) -> HostPlan:
        return self.restarting[name]

    def _check(self, host: str, stage: str, seen: Observed) -> None:
        """Do not compare the host with its desired state: changes that are not deployed may be pending there."""
