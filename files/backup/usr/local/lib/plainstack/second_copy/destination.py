"""Where the second copy is kept: what all kinds of destinations can do, and how they fail."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/plainstack/second-copy.json")
_PATHS = ("folder", "records", "scratch", "key", "known_hosts", "credentials", "files")


class Failed(Exception):
    """What went wrong, as one sentence. `kind` is a word for it, `details` what the programs said."""

    def __init__(self, kind: str, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind
        self.details = details


@dataclass(frozen=True)
class Destination(ABC):
    """A destination as the role describes it, and the folders on this host; `bandwidth` in KiB/s, 0 without limit.

    `folder` is the server's in Barman's home, `records` has what was recorded about each backup, and `files` the
    snapshots of services' folders; it is None if there are no such folders.

    Names of files in the copy are relative to it; those of folders end with a slash.
    """

    here: str
    server: str
    folder: Path
    records: Path
    scratch: Path
    bandwidth: int
    files: Path | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def to(self) -> str:
        """The destination as the inventory names it."""

    @abstractmethod
    def check(self) -> None:
        """Raise Failed unless the destination admits this host."""

    @abstractmethod
    def send(
        self, source: Path, only: Sequence[str] | None = None, *, once: bool = False, without: Sequence[str] = ()
    ) -> bool:
        """Copy files below `source`: all or those that `only` names, without those that match a pattern of `without`.

        With `once`, files that the copy already has are not replaced. WAL files arrive in the order of their names.
        Return whether a file vanished before it was copied. Raises Failed.
        """

    @abstractmethod
    def fetch(self, only: Sequence[str], into: Path, *, once: bool = False, without: Sequence[str] = ()) -> None:
        """Copy files from the copy, and skip those that it lacks; the options are those of `send`. Raises Failed."""

    @abstractmethod
    def fetch_listed(self, names: Iterable[str], into: Path) -> None:
        """Copy files that the copy has; there may be many. Raises Failed."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the names of all files below a folder of the copy, relative to it; empty if it does not exist."""

    @abstractmethod
    def remove(self, names: Sequence[str], stage: Path) -> None:
        """Remove files and folders from the copy, and nothing else; `stage` is a folder to work in. Raises Failed."""

    def wait(self, seconds: float = 60) -> None:
        """Check, and wait if the other end has not noticed yet that an earlier connection broke. Raises Failed."""
        until = time.monotonic() + seconds
        while True:
            try:
                self.check()
                return
            except Failed as error:
                if error.kind != "busy" or time.monotonic() > until:
                    raise
            time.sleep(2)


def described(path: Path = CONFIG) -> tuple[str, dict[str, Any]]:
    """Return the kind and the fields of the destination, as the role wrote them."""
    known: dict[str, Any] = json.loads(path.read_text())
    kind = str(known.pop("kind"))
    return kind, {name: Path(value) if name in _PATHS else value for name, value in known.items()}
