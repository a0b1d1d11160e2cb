"""Merge the journals of several hosts by time, without changing the order of a single host's entries."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from plainstack.deploy.journal import Entry


def merged(journals: Iterable[Sequence[Entry]]) -> list[Entry]:
    """Return the entries of all hosts by time; those of one host keep their order even if its clock was set back."""
    timed = [list(_timed(journal)) for journal in journals]
    return [entry for _, entry in heapq.merge(*timed, key=lambda one: one[0])]


def _timed(journal: Sequence[Entry]) -> Iterator[tuple[int, Entry]]:
    latest = 0
    for entry in journal:
        latest = max(latest, entry.at)
        yield latest, entry


class Merger:
    """Orders entries as they arrive: each is held for `patience` seconds, in case older entries of other hosts follow.

    `now` is the current time in seconds, by a clock of the caller's choice.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._latest: dict[str, int] = {}
        self._held: list[tuple[int, int, Entry]] = []
        self._arrived: deque[tuple[float, int]] = deque()
        self._count = 0

    def add(self, entry: Entry, now: float) -> None:
        """Add an entry that has just arrived."""
        latest = self._latest[entry.host] = max(self._latest.get(entry.host, 0), entry.at)
        self._count += 1
        heapq.heappush(self._held, (latest, self._count, entry))
        self._arrived.append((now, latest))

    def due(self, now: float) -> list[Entry]:
        """Return the entries that have been held long enough, and all older ones."""
        until = -1
        while self._arrived and self._arrived[0][0] + self._patience <= now:
            until = max(until, self._arrived.popleft()[1])
        return self._until(until)

    def rest(self) -> list[Entry]:
        """Return all entries that are still held."""
        self._arrived.clear()
        return self._until(max(self._latest.values(), default=0))

    def wait(self, now: float) -> float | None:
        """Return how many seconds remain until `due` returns an entry; None if no entry is held."""
        return max(0.0, self._arrived[0][0] + self._patience - now) if self._arrived else None

    def _until(self, at: int) -> list[Entry]:
        found = []
        while self._held and self._held[0][0] <= at:
            found.append(heapq.heappop(self._held)[2])
        return found
