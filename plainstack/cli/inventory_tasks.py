"""`inv inventory.*`: the values in effect, and the schema of inventories."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from plainstack.cli.options import JSON, SELECT


@task(help={"inventory": SELECT["inventory"], **JSON})
def show_inventory(_c: Context, inventory: str = "hosts.yaml", json: bool = False) -> None:
    """Show every value in effect, with the file and line that it comes from.

    With `extends`, this is the merged result. User, path and query of URLs are masked.
    """
    from plainstack.cli import inventory_commands

    inventory_commands.show(inventory, json=json)


@task(help={"inventory": "the inventory file; the roles in its folder add to the schema"})
def schema(_c: Context, inventory: str = "hosts.yaml") -> None:
    """Print the JSON Schema of inventories, which editors use for completion and validation.

    Run inv inventory.schema > inventory.schema.json, and put in the first line of hosts.yaml:
    # yaml-language-server: $schema=inventory.schema.json
    """
    from plainstack.cli import inventory_commands

    inventory_commands.schema(inventory)


inventories = Collection("inventory")
inventories.add_task(show_inventory, name="show")
inventories.add_task(schema)
