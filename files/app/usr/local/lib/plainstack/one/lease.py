"""The lease as one member sees it: what to ask the database next, and whether the command may run. Pure.

Times are seconds of a clock of this host that never goes back and counts suspended time. Clocks of different hosts are
never compared. Why two commands never run at the same time, as long as no acknowledged write is lost:

- A holder whose take or renewal was asked at T, and acknowledged, kills the command at T + HARD * ttl.
- A candidate takes the lease only if its row is still the one that the candidate has known for a ttl. It learned of
  that row after it was written, so after T, whichever renewal was the last one.
- No two writes are alike: a tenure is random, and every attempt of a tenure has a greater beat. A renewal that was
  seen and then lost in a failover cannot be mistaken for a later one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

# Parts of a ttl. What is between HARD and a whole ttl is for a guard that the machine lets wait, and for clocks that
# run at different speeds. At DEADLINE, systemd kills a service whose guard has not.
EVERY, RETRY, ANSWER, SOFT, HARD, DEADLINE = 0.1, 0.03, 0.2, 0.6, 0.8, 0.9
# A command that ran for so long, in seconds, has not failed right after its start.
SETTLED = 60.0
LONGEST_DELAY = 20.0
FREE = ""


@dataclass(frozen=True)
class Row:
    """The row of a lease: the holder's host and tenure, its last beat, and how often the command failed in a row."""

    holder: str
    tenure: str
    beat: int
    failures: int
    since: str


class Verb(enum.Enum):
    """What a member asks the database."""

    LOOK = "look"
    TAKE = "take"
    RENEW = "renew"
    RELEASE = "release"


@dataclass(frozen=True)
class Ask:
    """A question to the database, asked at a time; the answer is a row, or None if the condition did not hold."""

    verb: Verb
    at: float
    beat: int = 0
    failures: int = 0
    seen: Row | None = None


class Order(enum.Enum):
    """What to do with the command now."""

    WAIT = "wait"
    START = "start"
    KEEP = "keep"
    STOP = "stop"
    KILL = "kill"


def delay(failures: int) -> float:
    """Seconds to wait before the command starts after that many failures in a row, on whichever hosts."""
    return min(2.0 ** (failures - 1), LONGEST_DELAY) if failures else 0.0


class Member:
    """One process that wants the lease; `tenure` is a name that no other process ever has."""

    def __init__(self, tenure: str, ttl: float) -> None:
        self.ttl = ttl
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
        """Whether the database has said that the lease is this member's, and has not said otherwise since."""
        return self._held is not None

    def deadline(self, part: float) -> float:
        """When that part of a ttl has passed since the last renewal was asked that was acknowledged."""
        return float("-inf") if self._held is None else self._held + part * self.ttl

    def ask(self, now: float) -> Ask | None:
        """The question that is due; its answer is awaited before the next one."""
        if self._left or now < self._next:
            return None
        self._next = now + EVERY * self.ttl
        if self.holds or (self.row and self.row.tenure == self.tenure):
            self._beat += 1
            return Ask(Verb.RENEW, now, self._beat, self.failures)
        if self.row and (self.row.tenure == FREE or now >= self._seen_at + self.ttl):
            self._beat += 1
            return Ask(Verb.TAKE, now, self._beat, seen=self.row)
        return Ask(Verb.LOOK, now)

    def leave(self, now: float, *, failed: bool) -> Ask:
        """The last question, once the command has ended: give the lease up. This tenure never asks again."""
        self._left = True
        self._held = None
        return Ask(Verb.RELEASE, now, failures=self.failures + 1 if failed else 0)

    def answered(self, ask: Ask, row: Row | None, now: float) -> None:
        """Take in an acknowledged answer."""
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
        """Take in that there is no acknowledgment: what was asked may have happened, or may still happen."""
        self._next = min(self._next, now + RETRY * self.ttl)

    def order(self, now: float, *, alive: bool) -> Order:
        """What to do with the command, by whether any process of it is alive."""
        if alive:
            if now >= self.deadline(HARD):
                return Order.KILL
            return Order.STOP if now >= self.deadline(SOFT) else Order.KEEP
        fresh = self._start_at <= now < self.deadline(SOFT)
        return Order.START if fresh and not self._left else Order.WAIT
