"""Where things are on the backup host: what the role wrote for this program, and the folders of scratch clusters."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/plainstack/scratch.json")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class Failed(Exception):
    """What went wrong, as one sentence; `details` are the last lines of a log."""

    def __init__(self, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.details = details


class NoRoom(Failed):
    """The disk is too full to restore. This says nothing about the backup."""


@dataclass(frozen=True)
class Place:
    """The backup host as the role describes it; `readers` are the addresses that may copy a served cluster, by name.

    `records` has what was recorded about backups, `tests` the results of restore tests. `config` is Barman's
    configuration, if it is not the usual one.
    """

    server: str
    barman: Path
    scratch: Path
    requests: Path
    bin: Path
    tls: Path
    port: int
    database: str
    records: Path
    tests: Path
    readers: dict[str, str] = field(default_factory=dict)
    config: Path | None = None

    @classmethod
    def read(cls, path: Path = CONFIG) -> Place:
        """Return what the role wrote."""
        known = json.loads(path.read_text())
        folders = {key: Path(known[key]) for key in ("barman", "scratch", "requests", "bin", "tls", "records", "tests")}
        return cls(known["server"], port=known["port"], database=known["database"], readers=known["readers"], **folders)

    def of_copy(self) -> Place:
        """Return the place with the backup that was fetched from the second copy instead of Barman's own."""
        home = self.scratch / "_copy"
        tests = self.tests / "from-copy"
        tests.mkdir(exist_ok=True)
        return replace(
            self, barman=home, records=home / self.server / "records", tests=tests, config=home / "barman.conf"
        )

    @property
    def refused(self) -> Path:
        """The file that says why the last restore test could not run; it exists until a test can."""
        return self.tests / "refused" / "last.json"

    @property
    def archive(self) -> Path:
        """The folder of the server in Barman's home."""
        return self.barman / self.server

    def cluster(self, name: str) -> Cluster:
        """Return the scratch cluster of a name. Raises Failed if the name is unsuitable for a unit and a path."""
        if not _NAME.fullmatch(name):
            raise Failed(f"{name}: not a name for a scratch cluster: use lower-case letters, digits and hyphens")
        return Cluster(self, name)

    def names(self) -> list[str]:
        """Return the names of all scratch clusters that exist, running or left over."""
        try:
            return sorted(path.name for path in self.scratch.iterdir() if _NAME.fullmatch(path.name))
        except FileNotFoundError:
            return []


@dataclass(frozen=True)
class Cluster:
    """The paths of one scratch cluster."""

    place: Place
    name: str

    @property
    def unit(self) -> str:
        """The systemd unit that it runs in."""
        return f"plainstack-scratch@{self.name}.service"

    @property
    def folder(self) -> Path:
        """Everything of this cluster; deleted with it."""
        return self.place.scratch / self.name

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def config(self) -> Path:
        """The folder of its configuration, outside of the data directory so that no copy contains it."""
        return self.folder / "config"

    @property
    def socket(self) -> Path:
        """The folder of its Unix socket."""
        return self.folder / "socket"

    @property
    def log(self) -> Path:
        """PostgreSQL's log."""
        return self.folder / "log"

    @property
    def state(self) -> Path:
        """What has been done so far; see State."""
        return self.folder / "state.json"

    @property
    def request(self) -> Path:
        """What was asked for. Only root can write it."""
        return self.place.requests / f"{self.name}.json"

    def tablespace(self, name: str) -> Path:
        """Return where a tablespace is restored to."""
        return self.folder / "tablespaces" / name


def write_json(path: Path, content: object) -> None:
    """Replace a file, so that a reader never sees half of it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(content))
    new.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file, or an empty one if there is no such file or it is damaged."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict):
            return found
    return {}


def last_lines(path: Path, count: int = 15) -> str:
    """Return the last lines of a file, or an empty text if it does not exist."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
