"""The request with which a drill writes through a service, as the inventory describes it."""

from __future__ import annotations

from plainstack.inventory.references import resolve
from plainstack.inventory.services import DrillRequest
from plainstack.inventory.stack import Stack


def writes(stack: Stack) -> tuple[str, DrillRequest] | None:
    """The first service with a drill's request, and the request; None if there is none."""
    found = ((name, service.drill) for name, service in stack.services.items())
    return next(((name, drill) for name, drill in found if drill is not None), None)


def prefix(drill: str) -> str:
    """The beginning of all keys of a drill."""
    return f"drill-{drill}-"


def statement(text: str, drill: str) -> str:
    """SQL of the inventory, for one drill."""
    return resolve(text, {"prefix": prefix(drill), "key": "", "shard": ""}.__getitem__).rstrip().rstrip(";") + ";\n"
