"""The release of a service: an id derived from its content, and the files to send. Reads only the source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.engine.resources import Payload
from plainstack.errors import InventoryError
from plainstack.inventory.held import Pinned
from plainstack.inventory.services import Service
from plainstack.inventory.stack import Stack
from plainstack.services import files as own_files
from plainstack.services import hooks, kinds, pythons, source
from plainstack.services.digests import digests
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
        tree = source.walk(folder, service.folders)
        _check(folder, service, f"services.{name}", [file.inside for file in tree.files])
        whole = tree_digest(stack, name, tree)
    except OSError as error:
        raise _unreadable(error.filename, error) from None
    payload = Payload(
        files=tuple((f"{_SOURCE}{file.inside}", file.path) for file in tree.files),
        executables=tuple(file.inside for file in tree.files if file.executable),
        digest=whole,
        stays=tree.stays,
    )
    more = [
        *service.folders,
        *hooks.identity(service),
        *own_files.identity(service),
        *_python(service),
        *_lock(service),
    ]
    built = hashlib.sha256("\0".join([whole, *more]).encode()).hexdigest() if more else whole
    if not kinds.of(service).requirements:
        return Release(id=built[:12], venv="", source=payload, wheels=Payload())
    lock = str(folder / kinds.lock_of(service))
    requirements = content(lock)
    return Release(
        id=built[:12],
        venv=hashlib.sha256("\0".join(_python(service)).encode() + _MADE_FOR + requirements).hexdigest()[:12],
        source=payload,
        wheels=Payload(
            files=((LOCK, lock),),
            requirements=LOCK,
            digest=digest([(LOCK, requirements)]),
            python=pythons.version(service),
        ),
    )


def sent(stack: Stack, name: str) -> dict[str, str]:
    """Return the local paths of the files that a release contains, by their paths in the source.

    Raises InventoryError if the source cannot be read.
    """
    service = stack.services[name]
    try:
        return {file.inside: file.path for file in source.walk(stack.file(service.source), service.folders).files}
    except OSError as error:
        raise _unreadable(error.filename, error) from None


def tree_digest(stack: Stack, name: str, tree: source.Tree) -> str:
    """Return the digest of the files of a service's source. Raises OSError."""
    found = digests(tree.files, stack.state / "digests" / f"{name}.json")
    return _combined((file.inside, file.executable, each) for file, each in found)


def digest(files: Iterable[tuple[str, bytes]], executables: Iterable[str] = ()) -> str:
    """Return a digest of files, which is the same for a source and for the payload made from it."""
    marked = set(executables)
    inner = ((name.removeprefix(_SOURCE), data) for name, data in files)
    return _combined((inside, inside in marked, hashlib.sha256(data).hexdigest()) for inside, data in inner)


def _combined(files: Iterable[tuple[str, bool, str]]) -> str:
    """Return the digest of files, given as path, whether the file is executable, and the digest of its content."""
    hashed = hashlib.sha256(_MADE_FOR)
    for inside, executable, content_digest in files:
        hashed.update(f"{inside}\0{executable}\0{content_digest}\0".encode())
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


def _python(service: Service) -> list[str]:
    """Return what distinguishes a release with another Python than Debian's."""
    return [] if pythons.given(service) == PYTHON else [f"python\0{pythons.given(service)}"]


def _lock(service: Service) -> list[str]:
    """Return what distinguishes a release with another lock than the usual one."""
    lock = kinds.lock_of(service)
    return [] if lock == LOCK else [f"requirements\0{lock}"]


def _check(folder: Path, service: Service, key: str, files: Sequence[str]) -> None:
    needed = kinds.of(service).needs(service, key, files)
    problems = [f"{key}.source: {folder} has no {file}: {what}" for file, what in needed.items() if file not in files]
    if problems:
        raise InventoryError(problems)
