"""One run of the copy. Copies last what makes a backup visible, and then deletes what retention has removed.

At any moment, even if a run is interrupted, each backup that the copy lists is complete and has all WAL it needs.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import entries
from destination import Destination, Failed
from outcome import Outcome

# Barman rebuilds its list of WAL files, and these files are not complete.
NOT_WAL = ("wals/*-xlog.db*", "*.tmp")
_TRIES = 4


class Push:
    """A run of the copy. A lock keeps other runs away meanwhile."""

    def __init__(self, place: Destination, outcome: Outcome, stage: Path) -> None:
        self._place = place
        self._outcome = outcome
        self._stage = stage
        self.unknown: list[str] = []

    def run(self) -> None:
        """Bring the copy up to date. Raises Failed."""
        place, outcome = self._place, self._outcome
        theirs = self.look()
        began = time.time()
        # Before the WAL is copied: what these backups need has been archived.
        done = entries.read(place.folder / "meta")
        early, streamed = self._hold_stream()
        # An interruption must not leave a gap in the WAL of the copy: the archive is sent in order, and what is still
        # being received comes after it.
        place.send(place.folder, ["wals/", "partial/"], once=True, without=NOT_WAL)
        place.send(early)
        ours = self._base(done)
        broken = [one for one in ours if one not in theirs and not entries.complete(place.folder / "base" / one)]
        # A backup cannot be used without those that it is based on.
        known = {**theirs, **ours}
        usable = {
            one: entry
            for one, entry in ours.items()
            if not set(entries.chain(known, one)) & set(broken) and set(entries.chain(known, one)) <= set(known)
        }
        self._publish(usable, began)
        self.unknown = entries.unknown(theirs, ours, outcome.copied)
        before = outcome.streamed
        outcome.holds({*outcome.copied, *usable}, {*before, *streamed})
        self._prune(theirs, ours, [name for name in before if name not in streamed])
        outcome.holds(outcome.copied, streamed)
        if broken:
            raise Failed(
                "damaged",
                f"files of backup {broken[0]} are missing on {place.here}, so it was not copied. Take a new one:"
                " inv backup-now",
            )
        outcome.done(until=began, unknown=self.unknown)

    def look(self) -> dict[str, entries.Entry]:
        """Return the backups in the copy. Raises Failed if it belongs to another database cluster."""
        seen = empty(self._stage / "seen")
        self._place.fetch(["meta/", "identity.json"], seen)
        mine, theirs = (_text(folder / "identity.json") for folder in (self._place.folder, seen))
        if mine and theirs and _system(mine) != _system(theirs):
            raise Failed(
                "other",
                f"{self._place.to} holds the backups of another database cluster. Name another place in"
                " backup.second_copy.to",
            )
        return entries.read(seen / "meta")

    def _hold_stream(self) -> tuple[Path, list[str]]:
        """Return a folder with the WAL that is being received and the records, and the names of these WAL files.

        The files are links: they stay there even if Barman archives them meanwhile.
        """
        early = empty(self._stage / "early")
        (early / "streaming").mkdir()
        for path in (self._place.folder / "streaming").glob("[0-9A-F]*"):
            link(path, early / "streaming" / path.name)
        if self._place.records.is_dir():
            (early / "records").mkdir()
            for path in self._place.records.glob("*.json"):
                link(path, early / "records" / path.name)
        return early, sorted(path.name for path in (early / "streaming").iterdir())

    def _base(self, done: dict[str, entries.Entry]) -> dict[str, entries.Entry]:
        """Copy these backups; return those that still exist afterwards."""
        folder = self._place.folder
        for _ in range(_TRIES):
            vanished = self._place.send(folder, [f"base/{one}/" for one in done], once=True)
            done = {one: entry for one, entry in entries.read(folder / "meta").items() if one in done}
            if not vanished:
                return done
        raise Failed("busy", f"files on {self._place.here} vanish again and again while they are copied")

    def _publish(self, usable: dict[str, entries.Entry], until: float) -> None:
        late = empty(self._stage / "late")
        (late / "meta").mkdir()
        (late / "wals").mkdir()
        folder = self._place.folder
        for backup in usable:
            shutil.copy2(folder / "meta" / entries.info(backup), late / "meta")
        for name in ("identity.json", f"wals/{self._place.server}-xlog.db"):
            if (folder / name).exists():
                shutil.copy2(folder / name, late / name)
        (late / "copied-until").write_text(f"{until:.0f}\n")
        self._place.send(late)

    def _prune(self, theirs: dict[str, entries.Entry], ours: dict[str, entries.Entry], streamed: list[str]) -> None:
        old = entries.removable(theirs, ours, self._outcome.copied)
        if old:
            self._place.remove([f"meta/{entries.info(one)}" for one in old], self._stage)
            kept = {one: entry for one, entry in {**theirs, **ours}.items() if one not in old}
            wal = entries.old_wal(self._place.names("wals"), kept)
            names = [name for one in old for name in (f"base/{one}/", f"records/{one}.json")]
            names += [*(f"wals/{name}" for name in wal), *(f"streaming/{name}" for name in streamed)]
            self._place.remove(names, self._stage)
            self._outcome.holds(set(self._outcome.copied) - set(old))
        elif streamed and not self.unknown:
            self._place.remove([f"streaming/{name}" for name in streamed], self._stage)


def link(path: Path, to: Path) -> None:
    """Make a link, or a copy where that is impossible; nothing if the file no longer exists."""
    try:
        os.link(path, to)
    except FileNotFoundError:
        # It was archived just now, and will be copied from there.
        return
    except OSError:
        shutil.copy2(path, to)


def empty(folder: Path) -> Path:
    """Return a folder after it was emptied or made."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _system(identity: str) -> str:
    return str(json.loads(identity).get("systemid"))
