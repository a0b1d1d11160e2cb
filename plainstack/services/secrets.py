"""The secrets that services declare, and the references that they use, some of which contain other secrets."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.role import DeclaredSecret, FromCommand, Generated, Given
from plainstack.inventory import references
from plainstack.inventory.service_parts import ServiceSecret
from plainstack.inventory.stack import Stack
from plainstack.secrets.rotation import RotationStrategy
from plainstack.services import files
from plainstack.services.processes import leases
from plainstack.services.single import REFERRED
from plainstack.services.variables import secret_name


def declared(stack: Stack) -> Iterator[DeclaredSecret]:
    """Yield the secrets of all services."""
    for service, settings in stack.services.items():
        for name, wanted in settings.secrets.items():
            rotation: RotationStrategy = "overlap" if wanted.fallbacks else "at once"
            yield DeclaredSecret(secret_name(service, name), rotation, _origin(wanted))


def names(stack: Stack) -> list[str]:
    """Return the names of the secrets of all services."""
    return [secret.name for secret in declared(stack)]


def referred(stack: Stack) -> list[str]:
    """Return the names of the references that the environments, files and supervisors of services use."""
    found = [
        name
        for settings in stack.services.values()
        for text in settings.env.values()
        for name in references.names(text)
    ]
    found += [name for settings in stack.services.values() for name in files.referred(stack, settings)]
    return [*found, *(REFERRED if leases(stack) else ())]


def _origin(wanted: ServiceSecret) -> Generated | Given | FromCommand:
    if wanted.generate is not None:
        return Generated(wanted.generate, any_text=True)
    return Given() if wanted.command is None else FromCommand(wanted.command)
