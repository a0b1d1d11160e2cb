"""The commands behind `inv inventory.*`."""

from __future__ import annotations

from pathlib import Path

from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.inventory import load as inventories


def show(inventory: str, *, json: bool) -> None:
    """Run `inv inventory.show`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.engine.role import shape
        from plainstack.inventory.view import as_yaml, values
        from plainstack.roles import registry
        from plainstack.wording import dotted

        path = Path(inventory)
        folder = path.resolve().parent
        known = shape(registry(folder))
        found = inventories.read_file(path, known)
        shown = [*values(inventories.checked(found, folder, known), found)]
        if json:
            document([{"key": dotted(item.loc), "value": item.value, "from": item.origin} for item in shown])
        else:
            for line in as_yaml(shown):
                console.line(line)


def roles(inventory: str, *, json: bool) -> None:
    """Run `inv roles`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from dataclasses import asdict

        from plainstack.cli.role_list import lines, rows

        stack = load(inventory)
        found = rows(stack, roles_of(stack))
        if json:
            document([asdict(row) for row in found])
        else:
            for line in lines(found):
                console.line(line)


def schema(inventory: str) -> None:
    """Run `inv inventory.schema`."""
    console = Console()
    with reporting(console, shows=True):
        from plainstack.cli.reference import schema as made
        from plainstack.engine.role import shape
        from plainstack.roles import registry

        document(made(shape(registry(Path(inventory).resolve().parent))))
