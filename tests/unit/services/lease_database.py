"""The replicated database in the simulation of leases: a row, and commits that wait for the standby."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lease import ANSWER, FREE, Ask, Row, Verb

if TYPE_CHECKING:
    from tests.unit.services.lease_model import World

TTL = 15.0
TICK = 0.2
Reply = Callable[[Row | None, bool], None]


@dataclass
class Node:
    """A database host: its row, and a commit that waits for the standby and keeps the row locked."""

    world: World
    name: str
    primary: bool = False
    former: bool = False
    alone: bool = False
    down: bool = False
    row: Row = field(default_factory=lambda: Row("", "unknown", 0, 0, ""))
    waiting: tuple[Row, Reply] | None = None

    def execute(self, ask: Ask, who: str, tenure: str, reply: Reply, patience: float = ANSWER * TTL) -> None:
        if self.down or not self.primary:
            return
        wanted = changed(self.row, ask, who, tenure)
        if ask.verb is Verb.LOOK or wanted is None:
            reply(self.row if ask.verb is Verb.LOOK else None, True)
        elif self.waiting:
            # The row is locked: waiting for it ends with a time-out, without an answer.
            if patience > 0:
                self.world.after(TICK, lambda: self.execute(ask, who, tenure, reply, patience - TICK))
        elif self.alone:
            self.row = wanted
            reply(wanted, True)
        else:
            self.waiting = wanted, reply
            self.ship()

    def ship(self) -> None:
        """Send the waiting commit to the standby, repeatedly, as long as the commit waits."""
        if not self.waiting:
            return
        mine = self.waiting
        other = next(node for node in self.world.nodes if node is not self)

        def received() -> None:
            if self.waiting is not mine or self.down or other.down or other.primary or self.former:
                return
            if self.world.linked(self.name, other.name):
                other.row = mine[0]
                self.world.after(self.world.random.uniform(0, 0.2), confirmed)

        def confirmed() -> None:
            if self.waiting is mine and not self.down and self.world.linked(self.name, other.name):
                self.waiting = None
                self.row = mine[0]
                mine[1](mine[0], True)

        self.world.after(self.world.random.uniform(0, 0.2), received)
        self.world.after(0.5, lambda: self.ship() if self.waiting is mine else None)

    def cancel(self) -> None:
        """Cancel the wait: the commit succeeds with a warning, and others see it."""
        if self.waiting:
            (self.row, reply), self.waiting = self.waiting, None
            reply(self.row, False)

    def restart(self) -> None:
        """Restart the server: the waiting commit is kept here, but its client gets no answer."""
        if self.waiting:
            self.row, self.waiting = self.waiting[0], None


def changed(row: Row, ask: Ask, who: str, tenure: str) -> Row | None:
    """Return the row after an update, or None if its condition does not hold; database.py has the same in SQL."""
    mine = row.tenure == tenure
    if ask.verb is Verb.TAKE and ask.seen and (row.tenure, row.beat) == (ask.seen.tenure, ask.seen.beat):
        if ask.tick and row.tick >= ask.tick:
            return None
        return replace(row, holder=who, tenure=tenure, beat=ask.beat, tick=max(row.tick, ask.tick))
    if ask.verb is Verb.RENEW and mine and row.beat < ask.beat:
        return replace(row, beat=ask.beat, failures=ask.failures)
    if ask.verb is Verb.RELEASE and mine:
        return replace(row, holder="", tenure=FREE, failures=ask.failures)
    return None
