"""The web pages and other ports that `inv tunnel` can open, as the roles of a stack declare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plainstack.engine.role import Role, hosts_of
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import Target


def targets(stack: Stack, roles: Mapping[str, Role]) -> list[Target]:
    """Return the targets that have web pages. Raises Refused if there are none."""
    found = [target for target in _all(stack, roles) if target.pages]
    if not found:
        raise Refused(
            "no web pages to open, because no host has a role with one. To open any port of a host: inv tunnel"
            " HOST:PORT"
        )
    return found


def others(stack: Stack, roles: Mapping[str, Role]) -> str:
    """Return a line with examples of other ports to open; "" if there are none."""
    examples = [f"{target.via[0]}:{target.port}" for target in _all(stack, roles) if not target.pages]
    return f"any other port: inv tunnel HOST:PORT ({', '.join(examples[:4])})" if examples else ""


def _all(stack: Stack, roles: Mapping[str, Role]) -> Iterator[Target]:
    for role in roles.values():
        if hosts_of(stack, role):
            yield from role.tunnels(stack)
