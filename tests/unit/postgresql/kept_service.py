"""A folder of a service with snapshots on a backup host, and a folder of this machine as the place of a second copy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fetch_files
import snapshots
from destination import Destination
from outcome import Outcome
from push_files import PushFiles
from snapshots import Folder, Snapshot

from tests.unit.postgresql.test_folder_snapshots import MEDIA


@dataclass(frozen=True)
class Near(Destination):
    """A folder of this machine."""

    path: Path

    @property
    def to(self) -> str:
        return str(self.path)

    def check(self) -> None:
        pass

    def send(
        self, source: Path, only: Sequence[str] | None = None, *, once: bool = False, without: Sequence[str] = ()
    ) -> bool:
        assert (only, without) == (None, ())
        copy_tree(source, self.path, once=once)
        return False

    def fetch(self, only: Sequence[str], into: Path, *, once: bool = False, without: Sequence[str] = ()) -> None:
        assert (once, without) == (False, ())
        for name in only:
            copy_tree(self.path / name, into / name)

    def fetch_listed(self, names: Iterable[str], into: Path) -> None:
        for name in names:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.path / name, into / name)

    def names(self, folder: str) -> list[str]:
        return sorted(
            path.relative_to(self.path / folder).as_posix()
            for path in (self.path / folder).rglob("*")
            if path.is_file()
        )

    def remove(self, names: Sequence[str], stage: Path) -> None:  # noqa: ARG002
        for name in names:
            if name.endswith("/"):
                shutil.rmtree(self.path / name)
            else:
                (self.path / name).unlink(missing_ok=True)


def copy_tree(source: Path, to: Path, *, once: bool = False) -> None:
    for path in source.rglob("*"):
        there = to / path.relative_to(source)
        if path.is_file() and not (once and there.exists()):
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, there)


def remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class Service:
    """A folder of a service. Snapshots of it are made on the backup host as rsync would make them."""

    def __init__(self, place: Destination, tmp_path: Path, folder: Folder = MEDIA) -> None:
        assert place.files
        self.place, self.root, self.folder = place, place.files, folder
        self.files = tmp_path / "files" / folder.host
        self.files.mkdir(parents=True)
        self.stage = tmp_path / "stage"

    def write(self, name: str, text: str, at: int = 1_000_000_000) -> None:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o640)
        os.utime(path, ns=(at, at))

    def snapshot(self, begin: float) -> Snapshot:
        path = self.folder.place(self.root) / snapshots.name(begin)
        known = snapshots.of(self.folder, self.root)
        shutil.copytree(self.files, path / snapshots.TREE, symlinks=True)
        if known:
            self.link(known[-1].path / snapshots.TREE, path / snapshots.TREE)
        entries = snapshots.manifest(path / snapshots.TREE)
        snapshots.write(path, entries)
        sizes = [size for kind, _, size, _ in entries.values() if kind == "file"]
        about = {"begin": begin, "end": begin + 1, "files": len(sizes), "size": sum(sizes)}
        (path / snapshots.ABOUT).write_text(json.dumps(about))
        return snapshots.of(self.folder, self.root)[-1]

    def link(self, before: Path, tree: Path) -> None:
        times = {path: path.stat().st_mtime_ns for path in (tree, *tree.rglob("*")) if path.is_dir()}
        for path in tree.rglob("*"):
            old = before / path.relative_to(tree)
            same = [
                (one.st_size, one.st_mtime_ns, one.st_mode)
                for one in (path.lstat(), *([old.lstat()] if old.exists() else []))
            ]
            if path.is_file() and not path.is_symlink() and len(same) == 2 and len(set(same)) == 1:
                path.unlink()
                os.link(old, path)
        for path, when in times.items():
            os.utime(path, ns=(when, when))

    def copy(self, deadline: float = float("inf")) -> Outcome:
        outcome = Outcome(self.place)
        PushFiles(self.place, outcome, self.root, self.stage).run(deadline)
        return outcome

    def tested(self, most: int = 2**30) -> dict[str, Any]:
        return fetch_files.tested(self.place, Outcome(self.place), self.stage / "tested", most)

    def bring_back(self) -> list[str]:
        return fetch_files.bring_back(self.place, Outcome(self.place), self.root, self.stage / "back")

    def lose(self) -> None:
        """Lose the backup host, with what it knew about the copy."""
        remove(self.root, self.place.folder / "second-copy.json")
        self.root.mkdir()


def look(tree: Path) -> str:
    """Return all that a snapshot must preserve, as text."""
    found = []
    for path in (tree, *tree.rglob("*")):
        about = path.lstat()
        what = path.readlink() if path.is_symlink() else path.read_text() if path.is_file() else "folder"
        mode = 0 if path.is_symlink() else about.st_mode
        found.append(f"{path.relative_to(tree)} {what} {mode:o} {about.st_mtime_ns}")
    return "\n".join(sorted(found))
