"""Errors in the services' sources that would keep a host from installing or starting a release."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.services import files as own_files
from plainstack.services import kinds, pythons, release, requirements


def problems(stack: Stack) -> Iterator[str]:
    """Yield the problems in all services' sources that would stop every deploy, as messages with file and line."""
    for name, service in stack.services.items():
        try:
            here = release.read(stack, name)
        except InventoryError as error:
            yield from error.problems
            continue
        files = {inside.removeprefix("source/"): path for inside, path in here.source.files}
        yield from own_files.clashes(name, service, files)
        kind = kinds.of(service)
        if kind.requirements:
            lock = files[kinds.LOCK]
            text = release.content(lock)
            needed = kinds.packages(service, requirements.names(text, lock))
            yield from requirements.problems(text, lock, needed, pythons.version(service), beside=files)
        yield from kind.problems(service, files)
