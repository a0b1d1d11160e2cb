"""Actions on systemd units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause
from plainstack.engine.stamps import reread_stamp

if TYPE_CHECKING:
    from plainstack.engine.kinds.unit import Unit
    from plainstack.engine.transaction.bundle import Bundle

UnitVerb = Literal["start", "restart", "reload", "stop", "enable", "disable", "unmask"]


@dataclass(frozen=True, slots=True)
class UnitAction(Action):
    """A systemctl verb on a unit, and the stamp that the host records if it succeeds ("" for none)."""

    verb: UnitVerb
    unit: Unit
    cause: Cause
    detail: str
    stamp: str = ""

    def subject(self) -> str:
        return f"{self.verb} {self.unit.name}"

    @property
    def word(self) -> str:
        return self.verb

    @property
    def patience(self) -> int:
        # A unit may take its whole timeout to start, and the same time again to become healthy.
        return 2 * self.unit.timeout

    def steps(self, _number: str, bundle: Bundle) -> None:
        """Add the step that stops the unit; transaction.unit_steps adds those of the other verbs."""
        bundle.step(self.subject(), "stop_unit", self.unit.name)


@dataclass(frozen=True, slots=True)
class StopOthers(Action):
    """Stop what timers, sockets and people started from unit files that are about to be removed.

    `units` may be patterns, for the instances of a template.
    """

    units: tuple[str, ...]
    cause: Cause = "undeclared"
    detail: str = "if they run"

    def subject(self) -> str:
        return f"stop {', '.join(self.units)}"

    def steps(self, _number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "stop_others", *self.units)


@dataclass(frozen=True, slots=True)
class DaemonReload(Action):
    """Run systemctl daemon-reload after unit files have changed; its stamp is recorded like that of a unit's reload."""

    stamp: str
    cause: Cause
    detail: str = "unit files changed"

    def subject(self) -> str:
        return "daemon-reload"

    def steps(self, _number: str, bundle: Bundle) -> None:
        bundle.step(self.subject(), "reread_units", reread_stamp(bundle.role), self.stamp)
