"""The files of a service's source that are sent to hosts, and those that are left out. Reads names, no content."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.errors import InventoryError


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, patterns)))


# Hidden files are left out: a developer's .env contains secrets, and .git is not part of a release.
_LEFT_OUT = _any(".*", "*.sqlite3", "*.sqlite3-*", "node_modules", "venv")
# Hidden, but sent: public by definition (RFC 8615).
_TRAVELS = (".well-known",)
# Every Python that runs the source writes these again, so leaving them out is not reported.
_BYTECODE = _any("__pycache__", "*.pyc")
# The marks of an environment, which works only on this machine: venv and virtualenv write the first, conda the second.
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")
# A source with more files is a mistake, or contains links that multiply the files; every plan reads each file.
MOST_FILES = 100_000
# More bad links and names than these are not named: they have a cause in common.
_MOST_NAMED = 10


# Attributes that change with a file's content: size, times of modification and change in nanoseconds, inode and device.
Mark = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A file to send: its path in the source, its local path, and a mark that changes whenever its content does."""

    inside: str
    path: str
    executable: bool
    mark: Mark

    @classmethod
    def of(cls, inside: str, path: str, info: os.stat_result) -> Found:
        """Return the file with this status."""
        mark = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)
        return cls(inside, path, bool(info.st_mode & 0o100), mark)


@dataclass(frozen=True)
class Tree:
    """The files to send, sorted by their paths in the source; `stays` are the paths of what is left out, with reasons.

    `hidden` are files that are left out because their names begin with a dot.
    """

    files: tuple[Found, ...]
    stays: tuple[str, ...]
    hidden: tuple[tuple[str, str], ...] = ()


@dataclass
class _Walk:
    """One walk over a source; links are followed only inside `root`."""

    root: str
    writable: frozenset[str] = frozenset()
    stays: list[str] = field(default_factory=list)
    count: int = 0
    hidden: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def files(self, folder: str, inside: str, above: tuple[str, ...]) -> Iterator[Found]:
        """Yield the files to send; `above` are the real paths of the folders on the way to `folder`."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if _BYTECODE.match(entry.name):
                    continue
                if _LEFT_OUT.match(entry.name) and entry.name not in _TRAVELS:
                    self.stays.append(f"{inside}{_shown(entry.name)}{'/' if entry.is_dir() else ''}")
                    if entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        self.hidden.append((f"{inside}{_shown(entry.name)}", entry.path))
                    continue
                try:
                    self._must_be_utf8(entry)
                    real = self._real(entry, above) if entry.is_symlink() else f"{above[-1]}{os.sep}{entry.name}"
                except InventoryError as error:
                    self._note(error)
                    continue
                here = f"{inside}{entry.name}"
                if here in self.writable:
                    self.stays.append(f"{here}/ (writable on hosts)")
                    continue
                info = entry.stat()
                mode = info.st_mode
                if stat.S_ISDIR(mode):
                    if is_environment(real):
                        self.stays.append(f"{here}/ (an environment)")
                    else:
                        yield from self.files(entry.path, f"{here}/", (*above, real))
                elif stat.S_ISREG(mode):
                    self._count(entry)
                    yield Found.of(here, entry.path, info)
                else:
                    self.stays.append(f"{here} ({_kind(mode)})")

    def _note(self, error: InventoryError) -> None:
        """Go on after an entry that cannot be sent, so that all of them are reported at once."""
        self.problems += error.problems
        if len(self.problems) == _MOST_NAMED:
            raise InventoryError([*self.problems, f"{self.root}: may hold more links and names that cannot be sent"])

    def _real(self, entry: os.DirEntry[str], above: tuple[str, ...]) -> str:
        try:
            real = os.path.realpath(entry.path, strict=True)
        except OSError:
            raise InventoryError([f"{entry.path}: a broken link. Fix or remove it"]) from None
        if real in above:
            raise InventoryError([f"{entry.path}: a link to {real}, a folder that contains the link. Remove it"])
        if not real.startswith(f"{self.root}{os.sep}"):
            raise InventoryError([f"{entry.path}: a link to {real}, outside the source. Replace it with a copy"])
        return real

    def _must_be_utf8(self, entry: os.DirEntry[str]) -> None:
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            raise InventoryError([f"{_shown(entry.path)}: the name is not UTF-8. Rename it"]) from None

    def _count(self, entry: os.DirEntry[str]) -> None:
        self.count += 1
        if self.count > MOST_FILES:
            raise InventoryError(
                [
                    f"{self.root}: holds more than {MOST_FILES} files, the limit of a release. The last one found"
                    f" is {entry.path}"
                ]
            )


def walk(folder: Path, writable: Sequence[str] = ()) -> Tree:
    """Return the files of a source, a folder or a single file.

    The folders in `writable` are left out: on a host they contain the service's data. Raises InventoryError for a file
    that cannot be sent, and OSError.
    """
    if folder.is_file():
        return Tree((Found.of(folder.name, str(folder), folder.stat()),), ())
    root = os.path.realpath(folder)
    if is_environment(root):
        raise InventoryError(
            [f"{folder}: is itself a Python environment. Create the environment in its own folder, such as env/"]
        )
    walked = _Walk(root, frozenset(writable))
    files = sorted(walked.files(str(folder), "", (root,)), key=lambda file: file.inside)
    if walked.problems:
        raise InventoryError(sorted(walked.problems))
    return Tree(tuple(files), tuple(sorted(walked.stays)), tuple(sorted(walked.hidden)))


def is_environment(folder: str) -> bool:
    """Return whether a folder contains a Python environment."""
    return any(os.path.lexists(f"{folder}{os.sep}{mark}") for mark in _ENVIRONMENT)


def _shown(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "a device")
