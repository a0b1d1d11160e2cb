"""The WAL that Barman has: which segments follow each other, and where the first one is missing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fetch import opened
from place import Failed

_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(?:\.partial)?")


def position(text: str) -> int:
    """Return an LSN such as 0/5000028 as a number."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


@dataclass(frozen=True)
class Wal:
    """The segments in Barman's folders as (timeline, number) pairs, and which of them have been received completely.

    `ancestors` has the ancestors of each timeline, as (timeline, position of its end) pairs.
    """

    size: int
    segments: frozenset[tuple[int, int]]
    complete: frozenset[tuple[int, int]]
    ancestors: dict[int, tuple[tuple[int, int], ...]]

    @classmethod
    def read(cls, archive: Path, size: int) -> Wal:
        """Look into Barman's folders."""
        paths = [*archive.glob("wals/*"), *archive.glob("wals/*/*"), *archive.glob("streaming/*")]
        segments = {path: match for path in paths if (match := _SEGMENT.fullmatch(path.name)) and path.stat().st_size}
        numbers = {
            path: (int(match[1], 16), int(match[2], 16) * (2**32 // size) + int(match[3], 16))
            for path, match in segments.items()
        }
        complete = frozenset(number for path, number in numbers.items() if path.suffix != ".partial")
        histories = [path for path in paths if re.fullmatch(r"[0-9A-F]{8}\.history", path.name)]
        ancestors = {int(path.name[:8], 16): _ancestors(path) for path in histories}
        return cls(size, frozenset(numbers.values()), complete, ancestors)

    def name(self, timeline: int, number: int) -> str:
        """Return the file name of a segment."""
        parts = 2**32 // self.size
        return f"{timeline:08X}{number // parts:08X}{number % parts:08X}"

    def after(self, name: str) -> int:
        """Return how many segments on any timeline follow the segment with this file name."""
        last = int(name[8:16], 16) * (2**32 // self.size) + int(name[16:24], 16)
        return len({number for _, number in self.segments if number > last})

    def to_follow(self, begun: int, until: int, wanted: int) -> int:
        """Return the timeline to recover along after a backup of timeline `begun` that ended at the position `until`.

        `wanted` is a timeline, or 0 for the latest. Raises Failed if it does not contain the backup.
        """
        reachable = [begun, *(one for one, before in self.ancestors.items() if dict(before).get(begun, -1) >= until)]
        if not wanted:
            return max(reachable)
        if wanted not in reachable:
            known = ", ".join(str(one) for one in sorted(reachable))
            raise Failed(f"timeline {wanted} does not contain this backup; these do: {known}")
        return wanted

    def interrupted(self, timeline: int, reached: int, until: str = "") -> str:
        """Return a sentence if recovery along a timeline ended at `reached` although later WAL was archived.

        `until` is a sentence to append. Return an empty text if recovery ended where the WAL does.
        """
        ends = [(one, end // self.size) for one, end in self.ancestors.get(timeline, ())]
        here = reached // self.size

        def of(number: int) -> int:
            return next((one for one, end in ends if number < end), timeline)

        # The segment that is being received may not contain a whole record yet.
        later = [
            number
            for one, number in self.segments
            if of(number) == one and number > here + ((one, number) not in self.complete)
        ]
        if not later:
            return ""
        count = len(later)
        more = f"{count} later WAL file{'s were' if count > 1 else ' was'} not applied.{until}"
        for number in range(here, max(later)):
            if (of(number), number) not in self.segments:
                return f"WAL file {self.name(of(number), number)} is missing from Barman's archive; {more}"
        # The last record that was applied may end exactly where the damage begins.
        end = self.name(of(here), here)
        return f"WAL file {end}, or the one after it, is damaged; {more}"


def _ancestors(path: Path) -> tuple[tuple[int, int], ...]:
    with opened(path) as file:
        words = [line.split() for line in file.read().decode().splitlines() if not line.startswith("#")]
    return tuple((int(line[0]), position(line[1])) for line in words if len(line) >= 2)
