"""The request with which a drill writes through a service, from the inventory."""

from __future__ import annotations

from plainstack.inventory.references import resolve
from plainstack.inventory.service_parts import DrillRequest
from plainstack.inventory.stack import Stack


def writes(stack: Stack) -> tuple[str, DrillRequest] | None:
    """Return the name and the drill request of the first service that has one; None if no service has.

    Without a database, there is nothing to compare with.
    """
    if not stack.with_role("db"):
        return None
    found = ((name, service.drill) for name, service in stack.services.items())
    return next(((name, drill) for name, drill in found if drill is not None), None)


def prefix(drill: str) -> str:
    """Return the prefix of all keys of a drill."""
    return f"drill-{drill}-"


def statement(text: str, drill: str) -> str:
    """Return an SQL statement of the inventory with the references resolved for one drill."""
    return resolve(text, {"prefix": prefix(drill), "key": "", "shard": ""}.__getitem__).rstrip().rstrip(";") + ";\n"
