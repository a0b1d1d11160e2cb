"""What the cache did with each request, counted from the access log."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

RESULTS = {
    "HIT": "hit",
    "STALE": "stale",
    "UPDATING": "stale",
    "MISS": "miss",
    "EXPIRED": "miss",
    "REVALIDATED": "miss",
    "BYPASS": "bypass",
}
"""nginx's words, and the results of the metric: for a miss, the visitor waited for the application."""

_LINE = re.compile(rb" service=(\S+) cache=([A-Z]+)$")
_AT_ONCE = 1 << 20


class Log:
    """Reads what is added to a log, across rotations; what was there before is not counted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._inode = -1, -1
        self._rest = b""
        self._follow(from_start=False)

    def added(self) -> Counter[tuple[str, str]]:
        """Return how often each (upstream, result) was added since the last call."""
        counts: Counter[tuple[str, str]] = Counter()
        self._count(counts)
        try:
            rotated = self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return counts
        if rotated:
            # The web server wrote to the old file until it was told to open the new one.
            self._count(counts)
            self._follow(from_start=True)
            self._count(counts)
        return counts

    def _follow(self, *, from_start: bool) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            self._inode = -1
            return
        self._inode, self._rest = os.fstat(self._file).st_ino, b""
        if not from_start:
            os.lseek(self._file, 0, os.SEEK_END)

    def _count(self, counts: Counter[tuple[str, str]]) -> None:
        if self._file < 0:
            return
        if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            # It was emptied in place.
            os.lseek(self._file, 0, os.SEEK_SET)
            self._rest = b""
        while block := os.read(self._file, _AT_ONCE):
            *lines, self._rest = (self._rest + block).split(b"\n")
            for line in lines:
                if (found := _LINE.search(line)) and (result := RESULTS.get(found[2].decode())):
                    # A POST has an upstream of its own.
                    counts[found[1].decode().removesuffix(".once"), result] += 1


def metrics(counts: Mapping[tuple[str, str], int], services: Mapping[str, str], size: int, limit: int) -> str:
    """Return the metrics in Prometheus' text format; `services` holds the service of each upstream."""
    totals = Counter({(service, result): 0 for service in services.values() for result in RESULTS.values()})
    for (upstream, result), count in counts.items():
        if upstream in services:
            totals[services[upstream], result] += count
    lines = [
        "# HELP plainstack_cache_requests_total Requests to routes with a cache, by what the cache did.",
        "# TYPE plainstack_cache_requests_total counter",
        *(
            f'plainstack_cache_requests_total{{service="{service}",result="{result}"}} {count}'
            for (service, result), count in totals.items()
        ),
        "# HELP plainstack_cache_bytes Bytes that the stored responses take on the disk.",
        "# TYPE plainstack_cache_bytes gauge",
        f"plainstack_cache_bytes {size}",
        "# HELP plainstack_cache_limit_bytes Bytes that they may take.",
        "# TYPE plainstack_cache_limit_bytes gauge",
        f"plainstack_cache_limit_bytes {limit}",
    ]
    return "".join(f"{line}\n" for line in lines)
