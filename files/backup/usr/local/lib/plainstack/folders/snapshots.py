"""Snapshots of folders on the backup host: where they are, what they contain, and how long they are kept.

ROOT/SERVICE/HOST/FOLDER/ID has the folder `tree` with all files, `manifest` with a line for each of them, and
`snapshot.json`; a tested one has `test.json` too. Files that did not change are the same file in several snapshots.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/plainstack/kept-folders.json")
MANIFEST, ABOUT, TEST, TREE, STATE = "manifest", "snapshot.json", "test.json", "tree", "state.json"
_DAYS = {"DAYS": 1, "WEEKS": 7, "MONTHS": 31}

# The kind, mode, size and content of a file: its hash, or the target of a link.
Entry = tuple[str, int, int, str]


@dataclass(frozen=True)
class Folder:
    """A folder of a service on one of its hosts."""

    service: str
    folder: str
    host: str

    @property
    def key(self) -> str:
        return f"{self.service}/{self.folder}"

    @property
    def says(self) -> str:
        return f"{self.key} of {self.host}"

    def place(self, root: Path) -> Path:
        """Return the folder of its snapshots. A path in the inventory contains no plus sign."""
        return root / self.service / self.host / self.folder.replace("/", "+")


@dataclass(frozen=True)
class Config:
    """What the role wrote: `folders` are backed up, `root` has the snapshots, `port` is that of the services' hosts."""

    here: str
    port: int
    retention: str
    root: Path
    folders: tuple[Folder, ...]

    @classmethod
    def read(cls) -> Config:
        known: dict[str, Any] = json.loads(CONFIG.read_text())
        folders = tuple(Folder(**one) for one in known["folders"])
        return cls(known["here"], int(known["port"]), known["retention"], Path(known["root"]), folders)

    def changed(self) -> bool:
        """Return whether the file has other settings by now; False if it was removed."""
        return CONFIG.exists() and Config.read() != self


@dataclass(frozen=True)
class Snapshot:
    """A snapshot; `begin` and `end` are in seconds since the epoch, `size` counts the bytes of all files."""

    path: Path
    folder: Folder
    begin: float
    end: float
    files: int
    size: int
    test: Mapping[str, Any]

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def damaged(self) -> bool:
        return self.test.get("passed") is False

    def as_data(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "service": self.folder.service,
            "folder": self.folder.folder,
            "host": self.folder.host,
            "begin": self.begin,
            "end": self.end,
            "files": self.files,
            "size": self.size,
            "test": dict(self.test) or None,
        }


def every(root: Path) -> Iterator[tuple[Folder, list[Snapshot]]]:
    """Yield each folder that has snapshots, even if it is no longer backed up, with its snapshots, the oldest first."""
    for place in sorted(root.glob("*/*/*/")):
        service, host, name = place.relative_to(root).parts
        folder = Folder(service, name.replace("+", "/"), host)
        if found := of(folder, root):
            yield folder, found


def of(folder: Folder, root: Path) -> list[Snapshot]:
    """Return the complete snapshots of a folder, the oldest first. Their names are times."""
    found = []
    for path in sorted(folder.place(root).glob("[0-9]*")):
        about = _object(path / ABOUT)
        if about:
            numbers = (float(about["begin"]), float(about["end"]), int(about["files"]), int(about["size"]))
            found.append(Snapshot(path, folder, *numbers, _object(path / TEST)))
    return found


def state(root: Path) -> dict[str, Any]:
    """Return what the last run achieved: when it ended, and its problems; empty before the first one."""
    return _object(root / STATE)


def name(begin: float) -> str:
    """Return the name of a snapshot that began at this time."""
    return datetime.fromtimestamp(begin, UTC).strftime("%Y%m%dT%H%M%S")


def obsolete(snapshots: Sequence[Snapshot], retention: str, now: float) -> list[Snapshot]:
    """Return the snapshots that the retention policy, in Barman's words, does not need; never the newest whole one."""
    whole = [one for one in snapshots if not one.damaged]
    if not whole:
        return []
    number, unit = re.findall(r"([0-9]+) *(DAYS|WEEKS|MONTHS)?", retention.upper())[0]
    if unit:
        since = now - int(number) * _DAYS[unit] * 86400
        # The newest one before the window shows the folder as it was when the window began.
        oldest = ([one for one in whole if one.end < since] or whole[:1])[-1]
    else:
        oldest = whole[-int(number) :][0]
    return [one for one in snapshots if one.end < oldest.end]


def manifest(tree: Path, known: Mapping[tuple[int, int], str] | None = None) -> dict[str, Entry]:
    """Return what a tree contains, by path; `known` has the hashes of files that need not be read, by inode."""
    return dict(_walk(tree, "", known or {}))


def _walk(tree: Path, inside: str, known: Mapping[tuple[int, int], str]) -> Iterator[tuple[str, Entry]]:
    with os.scandir(tree / inside) as found:
        items = sorted(found, key=lambda item: item.name)
    for item in items:
        path, about = f"{inside}{item.name}", item.stat(follow_symlinks=False)
        mode = stat.S_IMODE(about.st_mode)
        if item.is_symlink():
            yield path, ("link", 0, 0, str(Path(item.path).readlink()))
        elif item.is_dir(follow_symlinks=False):
            yield path, ("folder", mode, 0, "")
            yield from _walk(tree, f"{path}/", known)
        elif item.is_file(follow_symlinks=False):
            content = known.get((about.st_dev, about.st_ino)) or _hash(Path(item.path))
            yield path, ("file", mode, about.st_size, content)


def inodes(snapshot: Snapshot) -> dict[tuple[int, int], str]:
    """Return the hashes of the files of a snapshot, by device and inode."""
    found = {}
    for path, (kind, _mode, _size, content) in read(snapshot.path).items():
        if kind == "file":
            try:
                about = os.lstat(snapshot.path / TREE / path)
            except FileNotFoundError:
                continue
            found[about.st_dev, about.st_ino] = content
    return found


def write(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write the manifest of a snapshot, and make sure that it is on the disk."""
    with (path / MANIFEST).open("w") as out:
        out.writelines(json.dumps([each, *entry]) + "\n" for each, entry in entries.items())
        out.flush()
        os.fsync(out.fileno())


def read(path: Path) -> dict[str, Entry]:
    """Return the manifest of a snapshot. Raises ValueError if it is damaged, and OSError if it is missing."""
    found: dict[str, Entry] = {}
    with (path / MANIFEST).open() as lines:
        for line in lines:
            each, kind, mode, size, content = json.loads(line)
            found[each] = (kind, mode, size, content)
    return found


def differences(snapshot: Snapshot) -> Iterator[str]:
    """Yield what is no longer as it was when the snapshot was taken, as sentences; reads every file."""
    try:
        wanted = read(snapshot.path)
        there = manifest(snapshot.path / TREE)
    except (OSError, ValueError) as error:
        yield f"{snapshot.folder.says}: the snapshot {snapshot.id} cannot be read: {error}"
        return
    if len(wanted) < snapshot.files:
        yield f"{snapshot.folder.says}: the manifest of the snapshot {snapshot.id} has been cut off"
    for path in sorted({**wanted, **there}):
        if wanted.get(path) == there.get(path):
            continue
        what = "is missing" if path not in there else "was added" if path not in wanted else "has changed"
        yield f"{snapshot.folder.says}: {printable(path)} {what} in the snapshot {snapshot.id}"


def printable(path: str) -> str:
    """Return a path for a message; names on a disk may contain anything."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace").replace("\n", "\\n")


def _hash(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
