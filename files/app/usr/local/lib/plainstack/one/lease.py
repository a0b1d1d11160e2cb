"""The lease as one member sees it: decides what to ask the database next, and whether the command may run. Pure.

Times are seconds of a clock of this host that never goes back and includes suspended time. Clocks of different hosts
are never compared. Two commands never run at the same time, as long as no acknowledged write is lost, because:

- A holder kills the command at T + HARD * ttl, where T is when it sent its last take or renewal that was acknowledged.
- A candidate takes a lease that was not released only if its row has not changed since the candidate first read it, at
  least a ttl ago. It read the row after the holder's last write, so after T.
- No two writes are alike: a tenure is random, and every attempt of a tenure has a greater beat. A renewal that was
  seen and then lost in a failover cannot be mistaken for a later one.

A command that runs at certain times has a tick: the time for which it runs, in seconds since the epoch. All hosts work
out the same tick from their calendar. A member takes the lease only if the row has an earlier tick, and writes its own
in the same update, so no tick is run twice.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

# Fractions of a ttl. The time between HARD and the whole ttl allows for a guard that is scheduled late, and for clocks
# that run at different speeds. At DEADLINE, systemd kills the service if the guard has not killed the command.
EVERY, RETRY, ANSWER, SOFT, HARD, DEADLINE = 0.1, 0.03, 0.2, 0.6, 0.8, 0.9
# Seconds. Once the command has run for so long, earlier failures no longer count.
SETTLED = 60.0
LONGEST_DELAY = 20.0
FREE = ""


@dataclass(frozen=True)
class Row:
    """The row of a lease: the holder's host and tenure, its last beat, the command's failures in a row, its tick."""

    holder: str
    tenure: str
    beat: int
    failures: int
    since: str
    tick: int = 0


class Verb(enum.Enum):
    """The kinds of questions to the database."""

    LOOK = "look"
    TAKE = "take"
    RENEW = "renew"
    RELEASE = "release"


@dataclass(frozen=True)
class Ask:
    """A question to the database, sent at the time `at`; the answer is a row, or None if its condition did not hold."""

    verb: Verb
    at: float
    beat: int = 0
    failures: int = 0
    seen: Row | None = None
    tick: int = 0


class Order(enum.Enum):
    """What to do with the command now."""

    WAIT = "wait"
    START = "start"
    KEEP = "keep"
    STOP = "stop"
    KILL = "kill"


def delay(failures: int) -> float:
    """Return how many seconds to wait before the command starts after so many failures in a row, on any hosts."""
    return min(2.0 ** (failures - 1), LONGEST_DELAY) if failures else 0.0


class Member:
    """One process that wants the lease; `tenure` is a name that no other process ever uses.

    With a `tick`, it wants the lease only as long as no other process has had it for this tick or a later one.
    """

    def __init__(self, tenure: str, ttl: float, tick: int = 0) -> None:
        self.ttl = ttl
        self.tick = tick
        self.tenure = tenure
        self.row: Row | None = None
        self.failures = 0
        self._seen_at = 0.0
        self._held: float | None = None
        self._beat = 0
        self._start_at = 0.0
        self._next = float("-inf")
        self._left = False

    @property
    def holds(self) -> bool:
        """Whether this member holds the lease, according to the last answer of the database about it."""
        return self._held is not None

    @property
    def over(self) -> bool:
        """Whether another process has had the lease for this member's tick or a later one."""
        row = self.row
        return bool(self.tick) and row is not None and row.tenure != self.tenure and row.tick >= self.tick

    def deadline(self, part: float) -> float:
        """Return when `part` of a ttl has passed since the last acknowledged take or renewal was sent.

        Without the lease, this is -inf.
        """
        return float("-inf") if self._held is None else self._held + part * self.ttl

    def ask(self, now: float) -> Ask | None:
        """Return the question to send now, or None. Call it only while no question is waiting for its answer."""
        if self._left or self.over or now < self._next:
            return None
        self._next = now + EVERY * self.ttl
        if self.holds or (self.row and self.row.tenure == self.tenure):
            self._beat += 1
            return Ask(Verb.RENEW, now, self._beat, self.failures)
        if self.row and (self.row.tenure == FREE or now >= self._seen_at + self.ttl):
            self._beat += 1
            return Ask(Verb.TAKE, now, self._beat, seen=self.row, tick=self.tick)
        return Ask(Verb.LOOK, now)

    def leave(self, now: float, *, failed: bool) -> Ask:
        """Return the last question, which releases the lease after the command has ended; `ask` then returns None."""
        self._left = True
        self._held = None
        return Ask(Verb.RELEASE, now, failures=self.failures + 1 if failed else 0)

    def answered(self, ask: Ask, row: Row | None, now: float) -> None:
        """Process an acknowledged answer."""
        if self._left:
            return
        if ask.verb is Verb.LOOK:
            if (row and (row.tenure, row.beat)) != (self.row and (self.row.tenure, self.row.beat)):
                self._seen_at = now
            self.row = row
            ours = row and row.tenure in (FREE, self.tenure)
            self._next = min(self._next, now if ours else max(now, self._seen_at + self.ttl))
            return
        if row is None:
            self._held = self.row = None
            self._next = now
            return
        if not self.holds:
            self.failures = row.failures
            self._start_at = now + delay(row.failures)
        self._held = ask.at
        self.row = row

    def unanswered(self, now: float) -> None:
        """Process a missing acknowledgment: the question may have taken effect, or may still do so."""
        self._next = min(self._next, now + RETRY * self.ttl)

    def order(self, now: float, *, alive: bool) -> Order:
        """Return what to do with the command now; `alive` says whether any of its processes is left."""
        if alive:
            if now >= self.deadline(HARD):
                return Order.KILL
            return Order.STOP if now >= self.deadline(SOFT) else Order.KEEP
        fresh = self._start_at <= now < self.deadline(SOFT)
        return Order.START if fresh and not self._left else Order.WAIT
