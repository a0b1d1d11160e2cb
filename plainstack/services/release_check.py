"""Errors in the services' sources that would keep a host from installing or starting a release."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.services import files as own_files
from plainstack.services import kinds, pythons, release, requirements, static_paths


def problems(stack: Stack) -> Iterator[str]:
    """Yield the problems in all services' sources that would stop every deploy, as messages with file and line."""
    for name, service in stack.services.items():
        kind = kinds.of(service)
        try:
            release.read(stack, name)
        except InventoryError as error:
            yield from error.problems
        try:
            files = release.sent(stack, name)
        except InventoryError:
            continue
        yield from own_files.clashes(name, service, files)
        yield from static_paths.missing(name, service, files)
        locked = kinds.lock_of(service)
        if kind.requirements and locked in files:
            lock = files[locked]
            text = release.content(lock)
            needed = kinds.packages(service, requirements.names(text, lock))
            yield from requirements.problems(text, lock, needed, pythons.version(service), beside=files)
        # A source that lacks only its lock is read, so that everything is reported at once.
        if not [file for file in kind.needs(service, "", list(files)) if file not in files and file != locked]:
            yield from kind.problems(service, files)


def notes(stack: Stack, name: str) -> Iterator[str]:
    """Yield what the operator should know about the source of a service; it does not stop the deploy."""
    service = stack.services[name]
    if name not in stack.held.pinned and name not in stack.held.aside:
        with suppress(InventoryError):
            for note in kinds.of(service).notes(service, release.sent(stack, name)):
                yield f"{name}: {note}"
