"""Connecting and probing before the inventory is even read, because waiting for hosts is most of what a run does.

A run keeps what it worked out from an inventory file: how its hosts are reached, and what each is asked. The next run
with the same file connects and asks at once, and works everything out itself meanwhile. It takes the connections only
if it would make the same, and an answer only if it asks the same. So what is kept can cost a connection or a question,
and never a result. It holds no secret: addresses, names of files, and probes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plainstack.ssh.reach import KeptReach

if TYPE_CHECKING:
    from plainstack.ssh.connections import Sessions
    from plainstack.ssh.reach import Reach
    from plainstack.ssh.session import Output, Session

_FORMAT = 1
# An inventory of some hundred hosts keeps this much.
_MOST = 16 << 20
# Inventories and selections of hosts that are remembered; what was not used for the longest time is forgotten.
_PLACES = 64
# How `extends` is written nearly always. What is written otherwise has no head start.
_EXTENDS = re.compile(rb"^extends:[ \t]+([^\s'\"#&*!|>{\[][^\s#]*)[ \t]*$", re.MULTILINE)
_CHAIN = 8


@dataclass(frozen=True)
class Kept:
    """What a run worked out: `probes` are the questions, by host."""

    reach: KeptReach
    probes: Mapping[str, str]


class HeadStart:
    """What has begun already; close with `with`, whether or not a run took it over."""

    def __init__(self, place: Path | None = None, key: str = "") -> None:
        self._place, self._key = place, key
        self._kept = _read(place, key) if place else None
        self._sessions: Sessions | None = None
        self._opened: dict[str, Future[Session]] = {}
        self._answers: dict[str, Future[Output]] = {}

    @classmethod
    def of(cls, inventory: Path, roles: str = "", hosts: str = "") -> HeadStart:
        """Begin with what an earlier run kept of this inventory and selection of hosts, if it did."""
        try:
            contents = _contents(inventory)
            place = _folder() / f"{_digest(str(inventory.resolve()), roles, hosts)[:32]}.json"
        except (OSError, RuntimeError):  # the latter: an operator without a home
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

        # Seconds. A connection takes some fifteen turns between threads, each of which waits this long for the main
        # thread while that imports; Python's own value is five times as much.
        sys.setswitchinterval(0.001)
        self._sessions = Sessions(self._kept.reach)
        for name, probe in self._kept.probes.items():
            self._opened[name], self._answers[name] = Future(), Future()
            threading.Thread(target=self._ask, args=(self._sessions, name, probe), daemon=True).start()

    def _ask(self, sessions: Sessions, name: str, probe: str) -> None:
        opened, answer = self._opened[name], self._answers[name]
        try:
            session = sessions.to(name)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the session is used
            opened.set_exception(error)
            return
        opened.set_result(session)
        try:
            answer.set_result(session.script(probe, timeout=60, step="probe"))
        except BaseException as error:  # noqa: BLE001 - likewise
            answer.set_exception(error)

    def take(self, stack: Reach, hosts: tuple[str, ...]) -> tuple[Sessions, dict[str, Future[Session]]] | None:
        """The connections that were begun, if this run would make the same ones. What it takes it closes."""
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
        """What a host answered to this very probe, once; the next look asks again. Raises HostFailed."""
        answer = self._answers.pop(name, None)
        if answer is None or self._kept is None or self._kept.probes[name] != probe:
            return None
        return answer.result()

    def keep(self, stack: Reach, probes: Mapping[str, str]) -> None:
        """Keep what this run worked out for the next one."""
        kept = Kept(KeptReach.of(stack), dict(probes))
        if self._place is not None and kept != self._kept:
            # A cache that cannot be written costs some time, and no result.
            with contextlib.suppress(OSError):
                _write(self._place, self._key, kept)


def _contents(inventory: Path) -> list[bytes] | None:
    """The bytes of an inventory and of all that it extends; None where that cannot be seen without reading YAML."""
    found = [inventory.read_bytes()]
    folder = inventory.resolve().parent
    while b"extends" in found[-1]:
        named = _EXTENDS.findall(found[-1])
        if len(named) != 1 or len(found) == _CHAIN:
            return None
        path = (folder / os.fsdecode(named[0])).resolve()
        found.append(path.read_bytes())
        folder = path.parent
    return found


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plainstack" / "head-start"


def _digest(*parts: str | bytes) -> str:
    encoded = [part if isinstance(part, bytes) else part.encode() for part in parts]
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in encoded)).hexdigest()


def _read(place: Path, key: str) -> Kept | None:
    """What was kept under this key; None if nothing was, or not by us alone."""
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
