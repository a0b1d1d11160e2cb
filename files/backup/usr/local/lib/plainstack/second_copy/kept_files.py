"""The files of services in the copy: each content once, by its SHA-256, and a list of the files of each snapshot.

A content is in files/contents/AB/ABCD..., and a snapshot in files/snapshots/KEY, where KEY is SERVICE/HOST/FOLDER/ID: a
`manifest` with the hash of each file, `times`, and `snapshot.json`, without which the snapshot is not complete. The
program that takes snapshots is installed beside this one; its module `snapshots` is also used here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from destination import Destination, Failed
from pushing import empty

sys.path.append(str(Path(__file__).resolve().parent.parent / "folders"))

from snapshots import ABOUT, MANIFEST, TREE, Entry, Folder, Snapshot, every, read

SNAPSHOTS, CONTENTS, TIMES = "files/snapshots", "files/contents", "times"
# How many files, and how many bytes of them, are sent or fetched at a time.
_FILES, _BYTES = 10_000, 256 * 2**20
_DIGEST = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64})")


def content(digest: str) -> str:
    """Return the name of a content in the copy."""
    return f"{CONTENTS}/{digest[:2]}/{digest}"


def key_of(one: Snapshot, root: Path) -> str:
    """Return the key of a snapshot of this host."""
    return one.path.relative_to(root).as_posix()


def parts(key: str) -> tuple[Folder, str]:
    """Return the folder of a snapshot, and its id."""
    service, host, folder, name = key.split("/")
    return Folder(service, folder.replace("+", "/"), host), name


def says(key: str) -> str:
    """Return what messages call a snapshot."""
    folder, name = parts(key)
    return f"{folder.says}, snapshot {name}"


def ours(root: Path) -> dict[str, Snapshot]:
    """Return the complete snapshots of this host by key, the oldest of each folder first."""
    return {key_of(one, root): one for _, found in every(root) for one in found}


def theirs(place: Destination) -> list[str]:
    """Return the keys of the snapshots in the copy. Raises Failed."""
    names = (name.rpartition("/") for name in place.names(SNAPSHOTS))
    return sorted(key for key, _, name in names if name == ABOUT and key.count("/") == 3)


def contents(place: Destination) -> set[str]:
    """Return the hashes of all contents in the copy. Raises Failed."""
    return {found[1] for name in place.names(CONTENTS) if (found := _DIGEST.fullmatch(name))}


def digests(entries: Mapping[str, Entry]) -> dict[str, tuple[str, int]]:
    """Return the hashes in a manifest, each with the path of a file that has this content, and its size."""
    return {digest: (path, size) for path, (kind, _mode, size, digest) in entries.items() if kind == "file"}


def batches(wanted: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield hashes, which come with the sizes of their contents, in portions that can be handled at a time."""
    batch: list[str] = []
    size = 0
    for digest in sorted(wanted):
        if batch and (len(batch) == _FILES or size + wanted[digest] > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(digest)
        size += wanted[digest]
    if batch:
        yield batch


def times(one: Snapshot, entries: Collection[str]) -> bytes:
    """Return what the manifest of a snapshot leaves out: the times of its files, and the folder's own mode and time."""
    tree = one.path / TREE
    own = tree.stat()
    lines = [["", own.st_mtime_ns, stat.S_IMODE(own.st_mode)]]
    lines += [[path, os.lstat(tree / path).st_mtime_ns] for path in entries]
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


@dataclass(frozen=True)
class Fetched:
    """What the copy says about a snapshot: `about` as on the host that took it, `entries`, and the times by path."""

    about: dict[str, Any]
    manifest: Path
    entries: dict[str, Entry]
    times: dict[str, int]
    mode: int


def fetched(place: Destination, keys: Collection[str], stage: Path) -> dict[str, Fetched]:
    """Fetch what the copy says about snapshots; a damaged one is missing from the result. Raises Failed."""
    into = empty(stage / "snapshots")
    place.fetch([f"{SNAPSHOTS}/{key}/" for key in keys], into)
    return {key: one for key in keys if (one := _read(into / SNAPSHOTS / key))}


def _read(folder: Path) -> Fetched | None:
    try:
        about = json.loads((folder / ABOUT).read_text())
        hashes = about.pop("sha256")
        if any(hash_of(folder / name) != hashes[name] for name in (MANIFEST, TIMES)):
            return None
        own, *lines = [json.loads(line) for line in (folder / TIMES).read_text().splitlines()]
        return Fetched(about, folder / MANIFEST, read(folder), {own[0]: own[1], **dict(lines)}, own[2])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def fetch_contents(place: Destination, batch: Collection[str], stage: Path, spare: int, size: int) -> Path:
    """Fetch contents into a folder, and return it. Raises Failed, also if the disk is too small for `size` bytes."""
    into = empty(stage / "contents")
    free = shutil.disk_usage(into).free
    if free < size + spare:
        raise Failed(
            "room",
            f"the disk of {into} is too small to fetch files of services: {(size + spare) // 2**20} MB are needed,"
            f" {free // 2**20} MB are free",
        )
    place.fetch_listed([content(digest) for digest in batch], into)
    return into


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
