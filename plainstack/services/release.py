"""The release of a service: an id derived from its content, and the files to send. Reads only the source."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plainstack.engine.resources import Payload
from plainstack.errors import InventoryError
from plainstack.inventory.held import Pinned
from plainstack.inventory.services import Service
from plainstack.inventory.stack import Stack
from plainstack.services import hooks, kinds, source
from plainstack.services.kinds import LOCK, PYTHON

# Increase this when the way a release or a virtual environment is built on a host changes.
_PACKAGING = "1"
_MADE_FOR = f"packaging {_PACKAGING} python {PYTHON}\n".encode()
_SOURCE = "source/"
# Stands for the release of a service that a command does not touch.
_ASIDE = Pinned(release="-")


@dataclass(frozen=True)
class Release:
    """A release made from a service's source: `id` is a digest of all its content, `venv` only of its requirements.

    `source` is sent if the release is new to a host, `wheels` only if its requirements are. `venv` is empty for a kind
    without requirements. A `pinned` release is on the hosts already, and nothing is sent.
    """

    id: str
    venv: str
    source: Payload
    wheels: Payload
    pinned: bool = False


def wanted(stack: Stack, name: str) -> Release:
    """Return the release that a service should run: the one that it was rolled back to, or that of its source.

    Raises InventoryError if the source lacks what a release needs.
    """
    pin = stack.held.pinned.get(name, _ASIDE if name in stack.held.aside else None)
    if pin is None:
        return read(stack, name)
    return Release(id=pin.release, venv=pin.venv, source=Payload(), wheels=Payload(), pinned=True)


def read(stack: Stack, name: str) -> Release:
    """Return the release of a service. Raises InventoryError if its source lacks what a release needs."""
    service = stack.services[name]
    folder = stack.file(service.source)
    try:
        tree = source.walk(folder, service.writable)
        files = tree.files
        executables = tuple(inside for inside, path in files if Path(path).stat().st_mode & 0o100)
    except OSError as error:
        raise _unreadable(error.filename, error) from None
    _check(folder, service, f"services.{name}", [inside for inside, _ in files])
    whole = digest(((inside, content(path)) for inside, path in files), executables)
    payload = Payload(
        files=tuple((f"{_SOURCE}{inside}", path) for inside, path in files),
        executables=executables,
        digest=whole,
        stays=tree.stays,
    )
    more = [*service.writable, *hooks.identity(service)]
    built = hashlib.sha256("\0".join([whole, *more]).encode()).hexdigest() if more else whole
    if not kinds.of(service).requirements:
        return Release(id=built[:12], venv="", source=payload, wheels=Payload())
    lock = str(folder / LOCK)
    requirements = content(lock)
    return Release(
        id=built[:12],
        venv=hashlib.sha256(_MADE_FOR + requirements).hexdigest()[:12],
        source=payload,
        wheels=Payload(files=((LOCK, lock),), requirements=LOCK, digest=digest([(LOCK, requirements)])),
    )


def digest(files: Iterable[tuple[str, bytes]], executables: Container[str] = ()) -> str:
    """Return a digest of files, which is the same for a source and for the payload made from it."""
    hashed = hashlib.sha256(_MADE_FOR)
    for name, data in files:
        inside = name.removeprefix(_SOURCE)
        hashed.update(f"{inside}\0{inside in executables}\0{len(data)}\0".encode())
        hashed.update(data)
    return hashed.hexdigest()


def content(path: str) -> bytes:
    """Return the content of a file of a source. Raises InventoryError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError) -> InventoryError:
    return InventoryError(
        [f"{path}: cannot be read: {error.strerror}. A release contains every file of its source folder"]
    )


def _check(folder: Path, service: Service, key: str, files: Sequence[str]) -> None:
    needed = kinds.of(service).needs(service, key, files)
    problems = [f"{key}.source: {folder} has no {file}: {what}" for file, what in needed.items() if file not in files]
    if problems:
        raise InventoryError(problems)
