"""Connect to hosts and probe them before the inventory is read, because a run mostly waits for hosts.

A run caches two results of reading an inventory file: how to reach the hosts, and the probe script of each host. The
next run with the same file connects and probes at once, and reads the inventory meanwhile. It uses the early
connections only if it would open the same ones itself, and the output of a probe only if it would run the same script.
So a stale cache can cost a connection or a probe, but it never changes a result. The cache holds no secrets, only
addresses, file names and probes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from plainstack.dataclass import dataclass
from plainstack.ssh.reach import KeptReach

if TYPE_CHECKING:
    from plainstack.ssh.connections import Sessions
    from plainstack.ssh.reach import Reach
    from plainstack.ssh.session import Output, Session

_FORMAT = 1
# Bytes. A larger cache is ignored; a few hundred hosts take about this much.
_MOST = 16 << 20
# The most combinations of inventory and selected hosts to cache; the least recently written ones are deleted.
_PLACES = 64
# Matches the usual way to write `extends`; an inventory that writes it differently gets no head start.
_EXTENDS = re.compile(rb"^extends:[ \t]+([^\s'\"#&*!|>{\[][^\s#]*)[ \t]*$", re.MULTILINE)
_CHAIN = 8


@dataclass(frozen=True)
class Kept:
    """The cached data of a run: how to reach the hosts, and the probe script of each host."""

    reach: KeptReach
    probes: Mapping[str, str]


class HeadStart:
    """Connections and probes that were started early.

    Always use a HeadStart in a `with` statement: it closes the connections unless `take` handed them to the caller.
    """

    def __init__(self, place: Path | None = None, key: str = "") -> None:
        self._place, self._key = place, key
        self._kept = _read(place, key) if place else None
        self._sessions: Sessions | None = None
        self._opened: dict[str, Future[Session]] = {}
        self._answers: dict[str, Future[Output]] = {}

    @classmethod
    def of(cls, inventory: Path, roles: str = "", hosts: str = "") -> HeadStart:
        """Start the connections and probes that a run cached for this inventory and selection of hosts, if any."""
        try:
            contents = _contents(inventory)
            place = _folder() / f"{_digest(str(inventory.resolve()), roles, hosts)[:32]}.json"
        except (OSError, RuntimeError):  # RuntimeError: the operator has no home directory
            return cls()
        if contents is None:
            return cls()
        started = cls(place, _digest(str(_FORMAT), sys.version, str(inventory.resolve()), roles, hosts, *contents))
        started._begin()
        return started

    def __enter__(self) -> HeadStart:
        return self

    def __exit__(self, *_: object) -> None:
        if self._sessions is not None:
            self._sessions.__exit__()

    def _begin(self) -> None:
        if self._kept is None:
            return
        from plainstack.ssh.connections import Sessions

        self._sessions = Sessions(self._kept.reach)
        for name, probe in self._kept.probes.items():
            self._opened[name], self._answers[name] = Future(), Future()
            threading.Thread(target=self._ask, args=(self._sessions, name, probe), daemon=True).start()

    def _ask(self, sessions: Sessions, name: str, probe: str) -> None:
        opened, answer = self._opened[name], self._answers[name]
        try:
            session = sessions.to(name)
        except BaseException as error:  # noqa: BLE001 - raised again where the session is used
            opened.set_exception(error)
            return
        opened.set_result(session)
        try:
            answer.set_result(session.script(probe, timeout=60, step="probe"))
        except BaseException as error:  # noqa: BLE001 - likewise
            answer.set_exception(error)

    def take(self, stack: Reach, hosts: tuple[str, ...]) -> tuple[Sessions, dict[str, Future[Session]]] | None:
        """Return the early connections, which the caller must close; None if this run would open different ones."""
        kept, sessions = self._kept, self._sessions
        if kept is None or sessions is None:
            return None
        if kept.reach != KeptReach.of(stack) or set(kept.probes) != set(hosts):
            self.__exit__()
            self._sessions, self._answers = None, {}
            return None
        self._sessions = None
        return sessions, dict(self._opened)

    def answer(self, name: str, probe: str) -> Output | None:
        """Return the output of a host's early probe if its script was exactly `probe`, otherwise None.

        Each output is returned only once. Raises the exception that the early probe raised.
        """
        answer = self._answers.pop(name, None)
        if answer is None or self._kept is None or self._kept.probes[name] != probe:
            return None
        return answer.result()

    def keep(self, stack: Reach, probes: Mapping[str, str]) -> None:
        """Cache how this run reaches its hosts, and its probes, for the next run."""
        kept = Kept(KeptReach.of(stack), dict(probes))
        if self._place is not None and kept != self._kept:
            # Without the cache, the next run is only slower.
            with contextlib.suppress(OSError):
                _write(self._place, self._key, kept)


def _contents(inventory: Path) -> list[bytes] | None:
    """Return the bytes of an inventory and of those that it extends; None if only a YAML parser could find them."""
    found = [_read_small(inventory)]
    folder = inventory.resolve().parent
    while b"extends" in found[-1]:
        named = _EXTENDS.findall(found[-1])
        if len(named) != 1 or len(found) == _CHAIN:
            return None
        path = (folder / os.fsdecode(named[0])).resolve()
        found.append(_read_small(path))
        folder = path.parent
    return found


def _read_small(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises OSError if it is another kind of file, or too large to be used."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
    return path.read_bytes()


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plainstack" / "head-start"


def _digest(*parts: str | bytes) -> str:
    encoded = [part if isinstance(part, bytes) else part.encode(errors="surrogateescape") for part in parts]
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in encoded)).hexdigest()


def _read(place: Path, key: str) -> Kept | None:
    """Return the data cached under this key; None if there is none, or if other users may read or write the file."""
    try:
        with place.open("rb") as file:
            found = os.fstat(file.fileno())
            ours = found.st_uid == os.geteuid() and not found.st_mode & 0o077 and stat.S_ISREG(found.st_mode)
            if not ours or found.st_size > _MOST:
                return None
            data = json.loads(file.read())
        if data["key"] != key:
            return None
        probes = {str(name): str(probe) for name, probe in data["probes"].items()}
        reach = KeptReach.from_data(data["reach"])
        return Kept(reach, probes) if set(probes) <= set(reach.hosts) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _write(place: Path, key: str, kept: Kept) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    half = place.with_name(f".{place.name}.{os.getpid()}")
    data = {"key": key, "reach": kept.reach.as_data(), "probes": dict(kept.probes)}
    try:
        made = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(made, "w", encoding="utf-8") as file:
            json.dump(data, file)
        half.replace(place)
    finally:
        half.unlink(missing_ok=True)
    places = sorted(place.parent.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in places[_PLACES:]:
        path.unlink(missing_ok=True)
