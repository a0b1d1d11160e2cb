"""Follow the journals of several hosts at once, and reconnect to a host whose connection is lost."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from plainstack.deploy.journal import Entry, parse
from plainstack.deploy.log_merge import Merger
from plainstack.errors import HostFailed
from plainstack.ssh.session import Output

# Seconds to hold an entry back, so that older entries of other hosts can come before it. A longer delay would be
# noticeable.
HELD = 0.3
# Seconds between attempts to reach a host again.
_PAUSE = 1.0


class Following(Protocol):
    """The part of plainstack.ssh.session.Session that following needs."""

    def run(
        self, command: str, /, *, hold_stdin: bool, on_line: Callable[[str], None], discard: bool, timeout: float
    ) -> Output:
        """Run a command until its connection is lost."""


class Followed(Protocol):
    """The part of plainstack.deploy.journal.Query that following needs."""

    def follow(self, cursor: str, /) -> str:
        """Return a command that prints the entries after a cursor as they arrive, until its input ends."""


class Hosts(Protocol):
    """The part of plainstack.ssh.connections.Sessions that following needs."""

    def living(self, name: str, /) -> Following:
        """Return the session of a host; open a new one if the last one has ended."""

    def forget(self, name: str, /) -> None:
        """Close the session of a host."""


class Follower:
    """Follows the journals of hosts from their cursors, and reports a host that goes away and comes back.

    A host that comes back is followed from the last entry that arrived, so that no entry is lost or shown twice.
    """

    def __init__(
        self,
        sessions: Hosts,
        queries: Mapping[str, Followed],
        cursors: Mapping[str, str],
        show: Callable[[Entry], None],
        note: Callable[[str], None],
    ) -> None:
        self._sessions = sessions
        self._queries = queries
        self._cursors = dict(cursors)
        self._show, self._note = show, note
        self._arrived: queue.Queue[Entry | str] = queue.Queue()
        self._stopped = threading.Event()

    def run(self, ended: Callable[[], bool] = lambda: False) -> None:
        """Show entries in order until interrupted, or until `ended` returns true; it is called between batches."""
        for name in self._queries:
            threading.Thread(target=self._follow, args=(name,), daemon=True).start()
        merger = Merger(HELD)
        try:
            while not ended():
                self._take(merger, merger.wait(time.monotonic()))
                for entry in merger.due(time.monotonic()):
                    self._show(entry)
        finally:
            self._stopped.set()

    def _take(self, merger: Merger, wait: float | None) -> None:
        """Process one entry or note, if one arrives within `wait` seconds; None means one second."""
        try:
            arrived = self._arrived.get(timeout=wait if wait is not None else 1.0)
        except queue.Empty:
            return
        if isinstance(arrived, Entry):
            merger.add(arrived, time.monotonic())
            return
        # First show the entries that arrived before this note about a host.
        for entry in merger.rest():
            self._show(entry)
        self._note(arrived)

    def _follow(self, name: str) -> None:
        """Follow one host, in a thread of its own, until the Follower stops."""
        gone = False
        while not self._stopped.is_set():
            try:
                session = self._sessions.living(name)
                if gone:
                    gone = False
                    self._arrived.put(f"{name}: is back")
                command = self._queries[name].follow(self._cursors.get(name, ""))
                output = session.run(
                    command, hold_stdin=True, on_line=self._reader(name), discard=True, timeout=math.inf
                )
                why = (output.err.strip().splitlines() or [f"journalctl ended with {output.code}"])[-1]
            except HostFailed as error:
                why = error.reason
            if self._stopped.is_set():
                return
            self._sessions.forget(name)
            if not gone:
                gone = True
                self._arrived.put(f"{name}: {why}; its entries will be shown when it is back")
            self._stopped.wait(_PAUSE)

    def _reader(self, name: str) -> Callable[[str], None]:
        def read(line: str) -> None:
            entry = parse(name, line)
            if entry:
                self._cursors[name] = entry.cursor
                self._arrived.put(entry)

        return read
