"""What of a service is released: the id that names its content, and the files that travel. Reads only the source."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from plainstack.errors import InventoryError
from plainstack.resources import Payload
from plainstack.stack import Service, Stack

LOCK = "requirements.txt"
# The Python of Debian 13, for which wheels are chosen.
PYTHON = "3.13"
# To be raised when the way a release or a virtual environment is built on a host changes.
_PACKAGING = "1"
_MADE_FOR = f"packaging {_PACKAGING} python {PYTHON}\n".encode()
_SOURCE = "source/"
# Hidden files stay at home: a developer's .env holds secrets, and .git is no part of a release.
_LEFT_OUT = (".*", "__pycache__", "*.pyc", "*.sqlite3", "*.sqlite3-*", "node_modules", "venv")


@dataclass(frozen=True)
class Release:
    """One service as its source folder is now: `id` names all of it, `venv` its requirements alone.

    `source` travels when the release is new to a host, `wheels` only when its requirements are.
    """

    id: str
    venv: str
    source: Payload
    wheels: Payload


def read(stack: Stack, name: str) -> Release:
    """The release of a service; raises InventoryError when its source lacks what a release needs."""
    service = stack.services[name]
    folder = stack.file(service.source)
    try:
        _check(folder, service, f"services.{name}.source")
        files = sorted(_walk(folder, ""))
        executables = tuple(inside for inside, path in files if Path(path).stat().st_mode & 0o100)
    except OSError as error:
        raise _unreadable(error.filename, error) from None
    content = digest(((inside, _content(path)) for inside, path in files), executables)
    lock = folder / LOCK
    requirements = _content(str(lock))
    return Release(
        id=content[:12],
        venv=hashlib.sha256(_MADE_FOR + requirements).hexdigest()[:12],
        source=Payload(
            files=tuple((f"{_SOURCE}{inside}", path) for inside, path in files),
            executables=executables,
            digest=content,
        ),
        wheels=Payload(files=((LOCK, str(lock)),), requirements=LOCK, digest=digest([(LOCK, requirements)])),
    )


def digest(files: Iterable[tuple[str, bytes]], executables: Container[str] = ()) -> str:
    """What names the content of files, as they lie in a source or travel in a payload."""
    content = hashlib.sha256(_MADE_FOR)
    for name, data in files:
        inside = name.removeprefix(_SOURCE)
        content.update(f"{inside}\0{inside in executables}\0{len(data)}\0".encode())
        content.update(data)
    return content.hexdigest()


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError) -> InventoryError:
    return InventoryError([f"{path}: cannot be read: {error.strerror}; a release holds all of its source folder"])


def _walk(folder: Path, inside: str) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in _LEFT_OUT):
                continue
            here = f"{inside}{entry.name}"
            try:
                entry.name.encode()
            except UnicodeEncodeError:
                shown = os.fsencode(entry.path).decode(errors="backslashreplace")
                raise InventoryError([f"{shown}: the name is not UTF-8; rename it"]) from None
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{here}/")
            elif entry.is_file():
                yield here, entry.path
            else:
                raise InventoryError([f"{entry.path}: a release can hold files and folders, and this is neither"])


def _check(folder: Path, service: Service, key: str) -> None:
    needed = {
        LOCK: "the lock of its requirements, with hashes (uv pip compile --generate-hashes)",
        "manage.py": "Django's command line",
        f"{service.project}/wsgi.py": "its WSGI application, in the package that `project` names",
    }
    problems = [
        f"{key}: {folder} has no {file}: {what}" for file, what in needed.items() if not (folder / file).is_file()
    ]
    if problems:
        raise InventoryError(problems)
