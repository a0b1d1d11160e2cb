"""Restore a folder of a service on its host: it is copied next to the current one, then the two are exchanged.

DATA/.plainstack-files/FOLDER contains `new`, into which the backup host copies, and which is then renamed to `ready`;
`request.json`, the restore that is under way; `before-ID`, the folder that restore ID replaced; and `undone-ID`, the
folder that restore ID had brought back before it was undone.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pwd
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGE = ".plainstack-files"
# The account under which this host answers the backup host.
RECEIVER = "plainstack-files"
# Bytes that must stay free.
_MARGIN = 64 * 2**20
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class Refused(Exception):
    """Why nothing was changed, as one sentence."""


@dataclass(frozen=True)
class Place:
    """A folder of a service; `data` is the folder of all that the service writes, `account` owns it."""

    data: Path
    folder: str
    account: str

    @property
    def target(self) -> Path:
        return self.data / self.folder

    @property
    def stage(self) -> Path:
        return self.data / STAGE / self.folder.replace("/", "+")

    @property
    def new(self) -> Path:
        """The folder that the backup host copies to; it is renamed when the copy is complete."""
        return self.stage / "new"

    @property
    def ready(self) -> Path:
        """What was copied, or, after the exchange, what it has replaced."""
        return self.stage / "ready"

    def request(self) -> dict[str, Any]:
        """Return the restore that is under way; empty if there is none."""
        try:
            found: dict[str, Any] = json.loads((self.stage / "request.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def record(self, **values: Any) -> None:
        path = self.stage / "request.json"
        fresh = path.with_suffix(".new")
        with fresh.open("w") as out:
            json.dump(self.request() | values, out)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)

    def finish(self, restore: str = "") -> None:
        """Forget the restore that is under way, because it is complete; with `restore`, only if it has this id."""
        if restore in ("", self.request().get("id")):
            (self.stage / "request.json").unlink(missing_ok=True)

    def kept(self, kind: str = "before") -> list[str]:
        """Return the restores for which a folder was put aside, the oldest first. Their names begin with times."""
        return sorted(path.name.removeprefix(f"{kind}-") for path in self.stage.glob(f"{kind}-*"))


def prepare(place: Place, restore: str, snapshot: str, size: int) -> tuple[str, bool]:
    """Make room for a snapshot of this size; return the id of the restore, and whether all was copied already.

    An interrupted restore of the same snapshot continues, under its own id if the exchange has begun. Raises Refused.
    """
    _must_be_ours(place)
    begun = place.request()
    if begun.get("undo") or (begun.get("inode") and begun["snapshot"] != snapshot):
        what = "the undoing of restore" if begun.get("undo") else "restore"
        raise Refused(
            f"{place.folder}: {what} {begun['id']} has not finished. Finish it with the command that began it,"
            " or with --undo"
        )
    if begun.get("inode"):
        return str(begun["id"]), True
    free = shutil.disk_usage(place.data).free + (_size(place.new) if place.new.exists() else 0)
    if free < size + _MARGIN:
        raise Refused(
            f"{place.folder}: the disk is too full for the restored files next to the current ones: {free // 2**20} MB"
            f" are free, {(size + _MARGIN) // 2**20} MB are needed"
        )
    account = pwd.getpwnam(RECEIVER)
    place.stage.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.record(id=restore, snapshot=snapshot)
    place.new.mkdir(mode=0o700, exist_ok=True)
    os.chown(place.new, account.pw_uid, account.pw_gid)
    return restore, False


def swap(place: Place, restore: str) -> None:
    """Replace the folder with what was copied, and put the folder aside; can be repeated after an interruption."""
    if restore in place.kept():
        return
    if place.request().get("id") != restore:
        raise Refused(f"{place.folder}: restore {restore} was not prepared")
    if place.new.exists():
        _give(place.new, place.account)
        place.record(inode=place.new.lstat().st_ino)
        # From now on, the backup host cannot write to it.
        place.new.rename(place.ready)
    _finish_swap(place, restore)


def _finish_swap(place: Place, restore: str) -> None:
    if place.target.lstat().st_ino != place.request()["inode"]:
        _must_be_ours(place)
        exchange(place.ready, place.target)
    place.ready.rename(place.stage / f"before-{restore}")


def undo(place: Place, restore: str = "") -> str:
    """Put back what a restore, by default the newest one, has put aside; return the restore's id. Raises Refused."""
    begun = place.request()
    if restore and begun.get("id") != restore:
        begun = {}
    if begun and not begun.get("undo") and begun["id"] not in place.kept():
        if begun.get("inode") != place.target.lstat().st_ino:
            # It has not changed the folder yet.
            _delete(place.new)
            _delete(place.ready)
            return str(begun["id"])
        _finish_swap(place, begun["id"])
    kept = place.kept()
    wanted = restore or begun.get("id") or (kept[-1] if kept else "")
    aside = place.stage / f"before-{wanted}"
    if aside.exists():
        if not begun.get("undo"):
            place.record(id=wanted, undo=aside.lstat().st_ino)
        if place.target.lstat().st_ino != place.request()["undo"]:
            _must_be_ours(place)
            exchange(aside, place.target)
        aside.rename(place.stage / f"undone-{wanted}")
    elif not restore and (not wanted or wanted not in place.kept("undone")):
        raise Refused(f"{place.folder}: there is nothing to undo: no files from before a restore are kept")
    return str(wanted)


def discard(place: Place, restore: str = "") -> Iterator[str]:
    """Delete what a restore has put aside, by default what all have; yield the paths."""
    for kind in ("before", "undone"):
        for one in place.kept(kind):
            if restore in ("", one):
                path = place.stage / f"{kind}-{one}"
                yield str(path)
                _delete(path)


def exchange(one: Path, other: Path) -> None:
    """Exchange two folders in one step. Raises Refused if the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (ctypes.c_char_p(os.fsencode(one)), ctypes.c_char_p(os.fsencode(other)))
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        why = "it is on another file system" if code == errno.EXDEV else os.strerror(code)
        raise Refused(f"{other}: it cannot be exchanged: {why}")
    os.sync()


def _must_be_ours(place: Place) -> None:
    if place.target.is_symlink() or not place.target.is_dir():
        raise Refused(f"{place.target} is not a folder. Deploy: inv deploy")
    if place.target.is_mount() or place.target.stat().st_dev != place.data.stat().st_dev:
        raise Refused(
            f"{place.target} is on a file system of its own, so it cannot be exchanged. Mount that at {place.data}"
            " instead"
        )


def _give(folder: Path, account: str) -> None:
    """Give a folder and all that is in it to an account."""
    owner = pwd.getpwnam(account)
    for path, folders, files in os.walk(folder):
        for name in ("", *folders, *files):
            os.chown(Path(path, name), owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _size(folder: Path) -> int:
    return sum(Path(path, name).lstat().st_size for path, _, files in os.walk(folder) for name in files)


def _delete(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
