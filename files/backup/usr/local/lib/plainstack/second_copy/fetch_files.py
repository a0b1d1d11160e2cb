"""Fetch files of services from the copy: those of the newest snapshots for a test, or what a rebuilt host lacks."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import kept_files
from destination import Destination, Failed
from kept_files import Fetched
from outcome import Outcome
from snapshots import ABOUT, MANIFEST, TREE, inodes, of, printable, read

# Room that must stay free.
_SPARE = 512 * 2**20
# How much a test reads; of more, it takes a sample.
TESTED = 10 * 2**30
# How many damaged files of a snapshot are named.
_NAMED = 20
# A file is the same in two snapshots if its content, mode and time are.
_File = tuple[str, int, int]


def tested(place: Destination, outcome: Outcome, into: Path, most: int) -> dict[str, Any]:
    """Read the newest snapshot of each folder in the copy; return how many files were read, problems, and notes.

    Contents are fetched in portions, so the disk need not have room for all. Raises Failed.
    """
    newest = {key.rpartition("/")[0]: key for key in kept_files.theirs(place)}
    found = kept_files.fetched(place, newest.values(), into)
    problems = [f"{kept_files.says(key)}: its list of files is damaged" for key in newest.values() if key not in found]
    there = kept_files.contents(place)
    wanted: dict[str, int] = {}
    bad: set[str] = set()
    for one in found.values():
        sizes = {digest: size for digest, (_, size) in kept_files.digests(one.entries).items()}
        bad |= sizes.keys() - there
        wanted |= {digest: size for digest, size in sizes.items() if digest in there}
    chosen = sample(wanted, most)
    for batch in kept_files.batches(chosen):
        folder = kept_files.fetch_contents(place, batch, into, _SPARE, sum(chosen[one] for one in batch))
        bad |= {one for one in batch if not _is(folder / kept_files.content(one), one)}
    shutil.rmtree(into, ignore_errors=True)
    for key, one in found.items():
        lost = sorted(path for path, entry in one.entries.items() if entry[0] == "file" and entry[3] in bad)
        problems += [f"{kept_files.says(key)}: {printable(path)} is damaged or missing" for path in lost[:_NAMED]]
        if len(lost) > _NAMED:
            problems.append(f"{kept_files.says(key)}: {len(lost) - _NAMED} more files are damaged or missing")
    if bad:
        outcome.files_damaged(bad)
    gigabytes = most // 2**30
    notes = [f"of the files of services, a sample of {gigabytes} GB was read"] if len(chosen) < len(wanted) else []
    return {"read": len(chosen), "problems": problems, "notes": notes}


def sample(wanted: Mapping[str, int], most: int) -> dict[str, int]:
    """Return randomly chosen contents, with their sizes, of at most `most` bytes together, but at least one content."""
    chosen: dict[str, int] = {}
    left = most
    for digest in random.sample(sorted(wanted), len(wanted)):
        if chosen and wanted[digest] > left:
            continue
        chosen[digest] = wanted[digest]
        left -= wanted[digest]
    return chosen


def _is(path: Path, digest: str) -> bool:
    return path.exists() and kept_files.hash_of(path) == digest


def bring_back(place: Destination, outcome: Outcome, root: Path, stage: Path) -> list[str]:
    """Rebuild the snapshots that only the copy has; return their keys. Raises Failed if one is damaged in the copy."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(root):
        lost = sorted(set(kept_files.theirs(place)) - set(kept_files.ours(root)))
        found = kept_files.fetched(place, lost, stage) if lost else {}
        there = kept_files.contents(place) if lost else set()
        # Before they exist: the next run of the copy may then remove what retention removes.
        outcome.holds_files({*outcome.files, *lost})
        back, problems = (
            [],
            [f"{kept_files.says(key)}: its list of files is damaged" for key in lost if key not in found],
        )
        for key, one in found.items():
            try:
                _Rebuilt(place, root, key, one, there, stage).make()
                back.append(key)
            except _Damaged as error:
                problems.append(f"{kept_files.says(key)}: {error}")
    shutil.rmtree(stage, ignore_errors=True)
    if problems:
        raise Failed("damaged", f"in the copy, {problems[0]}", "\n".join(problems[1:]))
    return back


class _Damaged(Exception):
    pass


class _Rebuilt:
    """A snapshot that is rebuilt from the copy; files that another snapshot of this host has are not fetched."""

    def __init__(
        self, place: Destination, root: Path, key: str, one: Fetched, there: Collection[str], stage: Path
    ) -> None:
        folder, self._id = kept_files.parts(key)
        self._place = place
        self._known = [known for known in of(folder, root) if not known.damaged]
        self._one = one
        self._there = there
        self._stage = stage
        self._path = folder.place(root) / f".back-{self._id}"

    def make(self) -> None:
        one, tree = self._one, self._path / TREE
        shutil.rmtree(self._path, ignore_errors=True)
        tree.mkdir(mode=0o700, parents=True)
        had = self._had()
        folders = {"": one.mode}
        for path, (kind, mode, _, content) in one.entries.items():
            if kind == "folder":
                (tree / path).mkdir(mode=0o700)
                folders[path] = mode
            elif kind == "link":
                (tree / path).symlink_to(content)
                self._timed(tree / path, path)
        self._files(tree, had)
        # The modes and times of folders are set last, the innermost first: a mode may forbid writing to the folder.
        for path, mode in sorted(folders.items(), reverse=True):
            (tree / path).chmod(mode)
            self._timed(tree / path, path)
        shutil.copyfile(one.manifest, self._path / MANIFEST)
        (self._path / ABOUT).write_text(json.dumps(one.about))
        os.sync()
        self._path.rename(self._path.with_name(self._id))

    def _had(self) -> dict[_File, Path]:
        found: dict[_File, Path] = {}
        for known in self._known:
            with suppress(OSError, ValueError, KeyError):
                contents = inodes(known)
                for path, (kind, mode, _, _) in read(known.path).items():
                    if kind == "file":
                        about = (there := known.path / TREE / path).lstat()
                        found[contents[about.st_dev, about.st_ino], mode, about.st_mtime_ns] = there
        return found

    def _files(self, tree: Path, had: Mapping[_File, Path]) -> None:
        missing: dict[str, dict[_File, list[str]]] = {}
        sizes: dict[str, int] = {}
        for path, (kind, mode, size, content) in self._one.entries.items():
            if kind != "file":
                continue
            file = (content, mode, self._one.times[path])
            if file in had:
                os.link(had[file], tree / path)
            else:
                missing.setdefault(content, {}).setdefault(file, []).append(path)
                sizes[content] = size
        for batch in kept_files.batches(sizes):
            total = sum(sizes[one] for one in batch)
            wanted = [digest for digest in batch if digest in self._there]
            fetched = kept_files.fetch_contents(self._place, wanted, self._stage, _SPARE, total)
            for digest in batch:
                source = fetched / kept_files.content(digest)
                if not _is(source, digest):
                    path = next(iter(missing[digest].values()))[0]
                    raise _Damaged(f"{printable(path)} is damaged or missing")
                for (_, mode, _), paths in missing[digest].items():
                    for path in paths:
                        shutil.copyfile(source, tree / path)
                        (tree / path).chmod(mode)
                        self._timed(tree / path, path)

    def _timed(self, path: Path, name: str) -> None:
        when = self._one.times[name]
        os.utime(path, ns=(when, when), follow_symlinks=False)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keep the program that takes and removes snapshots from running meanwhile."""
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
