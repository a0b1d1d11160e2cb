"""The files of a service's source that are sent to hosts, and those that are left out. Reads names, no content."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plainstack.errors import InventoryError

# Hidden files are left out: a developer's .env contains secrets, and .git is not part of a release.
_LEFT_OUT = (".*", "*.sqlite3", "*.sqlite3-*", "node_modules", "venv")
# Hidden, but sent: public by definition (RFC 8615).
_TRAVELS = (".well-known",)
# Every Python that runs the source writes these again, so leaving them out is not reported.
_BYTECODE = ("__pycache__", "*.pyc")
# The marks of an environment, which works only on this machine: venv and virtualenv write the first, conda the second.
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")
# A source with more files is a mistake, or contains links that multiply the files; every plan reads each file.
MOST_FILES = 100_000
_NAMED = 12


@dataclass(frozen=True)
class Tree:
    """The files to send as (path in the source, local path), sorted; `stays` names what is left out, with counts.

    `hidden` are files that are left out because their names begin with a dot.
    """

    files: tuple[tuple[str, str], ...]
    stays: tuple[str, ...]
    hidden: tuple[tuple[str, str], ...] = ()


@dataclass
class _Walk:
    """One walk over a source; links are followed only inside `root`."""

    root: str
    writable: frozenset[str] = frozenset()
    stays: Counter[str] = field(default_factory=Counter)
    count: int = 0
    hidden: list[tuple[str, str]] = field(default_factory=list)

    def files(self, folder: str, inside: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """Yield the files to send; `above` are the real paths of the folders on the way to `folder`."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if _matches(entry.name, _BYTECODE):
                    continue
                if _matches(entry.name, _LEFT_OUT) and entry.name not in _TRAVELS:
                    self.stays[_shown(entry.name) + ("/" if entry.is_dir() else "")] += 1
                    if entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        self.hidden.append((f"{inside}{_shown(entry.name)}", entry.path))
                    continue
                self._must_be_utf8(entry)
                real = self._real(entry, above) if entry.is_symlink() else f"{above[-1]}{os.sep}{entry.name}"
                here = f"{inside}{entry.name}"
                if here in self.writable:
                    self.stays[f"{here}/ (writable on hosts)"] += 1
                    continue
                mode = Path(real).stat().st_mode
                if stat.S_ISDIR(mode):
                    if is_environment(real):
                        self.stays[f"{entry.name}/ (an environment)"] += 1
                    else:
                        yield from self.files(entry.path, f"{here}/", (*above, real))
                elif stat.S_ISREG(mode):
                    self._count(entry)
                    yield here, entry.path
                else:
                    self.stays[f"{entry.name} ({_kind(mode)})"] += 1

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
        return Tree(((folder.name, str(folder)),), ())
    root = os.path.realpath(folder)
    if is_environment(root):
        raise InventoryError(
            [f"{folder}: is itself a Python environment. Create the environment in its own folder, such as env/"]
        )
    walked = _Walk(root, frozenset(writable))
    files = sorted(walked.files(str(folder), "", (root,)))
    stays = sorted(name if count == 1 else f"{name} ({count})" for name, count in walked.stays.items())
    if len(stays) > _NAMED:
        stays = [*stays[:_NAMED], f"{len(stays) - _NAMED} other names"]
    return Tree(tuple(files), tuple(stays), tuple(sorted(walked.hidden)))


def is_environment(folder: str) -> bool:
    """Return whether a folder contains a Python environment."""
    return any(os.path.lexists(f"{folder}{os.sep}{mark}") for mark in _ENVIRONMENT)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _shown(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "a device")
