"""One run of the copy for the files of services: new snapshots are sent, and what retention has removed is deleted."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import kept_files
from destination import Destination, Failed
from kept_files import SNAPSHOTS, TIMES
from outcome import Outcome
from pushing import empty, link
from snapshots import ABOUT, MANIFEST, TEST, TREE, Snapshot, printable, read

# rsync compares each file with each of the names that it is to remove.
_REMOVED_AT_ONCE = 500


def unknown(theirs: Collection[str], ours: Collection[str], copied: Collection[str]) -> list[str]:
    """Return the snapshots of the copy that this host neither has nor has copied: it may have been rebuilt."""
    return sorted(set(theirs) - set(ours) - set(copied))


def removable(theirs: Collection[str], ours: Collection[str], copied: Collection[str]) -> list[str]:
    """Return the snapshots that the copy need not keep.

    They are older than every snapshot of the same folder on this host. There are none if the copy has a snapshot that
    this host does not know.
    """
    if unknown(theirs, ours, copied):
        return []
    oldest: dict[str, str] = {}
    for key in sorted(ours, reverse=True):
        oldest[key.rpartition("/")[0]] = key
    return sorted(key for key in theirs if key not in ours and key < oldest.get(key.rpartition("/")[0], ""))


class Damaged(Exception):
    """A snapshot of this host differs from its manifest; the text says how."""


class PushFiles:
    """A run of the copy. A lock keeps other runs away meanwhile."""

    def __init__(self, place: Destination, outcome: Outcome, root: Path, stage: Path) -> None:
        self._place = place
        self._outcome = outcome
        self._root = root
        self._stage = stage / "files"
        self._problems: list[str] = []
        self._known: set[str] | None = None

    def run(self, deadline: float) -> bool:
        """Bring the copy up to date; return False if `deadline` passes before that is done. Raises Failed."""
        began = time.time()
        try:
            if not self._run(deadline):
                return False
        finally:
            shutil.rmtree(self._stage, ignore_errors=True)
        if self._problems:
            raise Failed("damaged", self._problems[0], "\n".join(self._problems[1:]))
        self._outcome.files_done(began)
        return True

    def _run(self, deadline: float) -> bool:
        ours, theirs = kept_files.ours(self._root), kept_files.theirs(self._place)
        pending = {key: one for key, one in ours.items() if key not in theirs and not one.damaged}
        again, incomplete = self._repair(ours)
        pending |= incomplete
        for key, one in pending.items():
            try:
                if not self._send(key, one, deadline):
                    return False
            except (Damaged, FileNotFoundError, ValueError) as error:
                # Retention may have removed it meanwhile.
                if (one.path / ABOUT).exists():
                    self._problems.append(_record(one, error))
            else:
                self._outcome.holds_files({*self._outcome.files, key})
                theirs = sorted({*theirs, key})
        self._outcome.repaired(again)
        ours = kept_files.ours(self._root)
        self._outcome.known["unknown_files"] = unknown(theirs, ours, self._outcome.files)
        self._prune(theirs, ours)
        return True

    def _contents(self) -> set[str]:
        # Listing them takes a while, and is only needed if something has changed.
        if self._known is None:
            self._known = kept_files.contents(self._place)
        return self._known

    def _repair(self, ours: Mapping[str, Snapshot]) -> tuple[list[str], dict[str, Snapshot]]:
        """Remove contents that are damaged in the copy and that this host still has; return them with snapshots."""
        damaged = set(self._outcome.damaged_files)
        if not damaged:
            return [], {}
        having = {key: found for key, one in ours.items() if not one.damaged and (found := damaged & _digests(one))}
        again = sorted({digest for found in having.values() for digest in found})
        self._remove([kept_files.content(digest) for digest in again])
        self._known = None
        return again, {key: ours[key] for key in having}

    def _send(self, key: str, one: Snapshot, deadline: float) -> bool:
        entries = read(one.path)
        if sum(entry[0] == "file" for entry in entries.values()) != one.files:
            raise Damaged("the manifest has changed")
        wanted = kept_files.digests(entries)
        sizes = {digest: size for digest, (_, size) in wanted.items() if digest not in self._contents()}
        for batch in kept_files.batches(sizes):
            if time.monotonic() > deadline:
                return False
            stage = empty(self._stage / "contents")
            for digest in batch:
                path = wanted[digest][0]
                made = stage / kept_files.content(digest)
                made.parent.mkdir(parents=True, exist_ok=True)
                link(one.path / TREE / path, made)
                # A content is never replaced, so a damaged one must not get there.
                if kept_files.hash_of(made) != digest:
                    raise Damaged(f"{printable(path)} has changed")
            self._place.send(stage, once=True)
            self._contents().update(batch)
        self._publish(key, one, entries)
        return True

    def _publish(self, key: str, one: Snapshot, entries: Collection[str]) -> None:
        folder = empty(self._stage / "snapshot") / SNAPSHOTS / key
        folder.mkdir(parents=True)
        shutil.copyfile(one.path / MANIFEST, folder / MANIFEST)
        (folder / TIMES).write_bytes(kept_files.times(one, entries))
        hashes = {name: kept_files.hash_of(folder / name) for name in (MANIFEST, TIMES)}
        about = {**json.loads((one.path / ABOUT).read_text()), "sha256": hashes}
        self._place.send(self._stage / "snapshot")
        (folder / ABOUT).write_text(json.dumps(about))
        self._place.send(self._stage / "snapshot")

    def _prune(self, theirs: Collection[str], ours: Collection[str]) -> None:
        old = removable(theirs, ours, self._outcome.files)
        kept = [key for key in theirs if key not in old]
        fetched = kept_files.fetched(self._place, kept, self._stage) if old else {}
        if not old or set(fetched) != set(kept):
            # What a damaged one needs is unknown.
            return
        needed = {digest for one in fetched.values() for digest in kept_files.digests(one.entries)}
        self._remove([f"{SNAPSHOTS}/{key}/{ABOUT}" for key in old])
        self._remove([f"{SNAPSHOTS}/{key}/" for key in old])
        self._remove([kept_files.content(digest) for digest in sorted(self._contents() - needed)])
        self._outcome.holds_files(set(self._outcome.files) - set(old))

    def _remove(self, names: Sequence[str]) -> None:
        for first in range(0, len(names), _REMOVED_AT_ONCE):
            self._place.remove(names[first : first + _REMOVED_AT_ONCE], self._stage)


def _record(one: Snapshot, error: Exception) -> str:
    """Record that a snapshot is damaged, as a failed test does; return the sentence that reports it."""
    what = f"{one.folder.says}: {error} in the snapshot {one.id}"
    new = one.path / f".{TEST}.new"
    new.write_text(json.dumps({"at": time.time(), "passed": False, "problems": [what]}))
    new.replace(one.path / TEST)
    return f"{what}, so it was not copied. Take a new one: inv backup-now"


def _digests(one: Snapshot) -> set[str]:
    try:
        return set(kept_files.digests(read(one.path)))
    except (OSError, ValueError):
        return set()
