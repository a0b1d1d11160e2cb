"""A stack with a database, and what the db role wants on its hosts."""

from __future__ import annotations

from pathlib import Path

from plainstack.engine.declared import by_name
from plainstack.engine.resources import File, Resource
from plainstack.inventory.stack import Stack
from plainstack.roles import db
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories

ETC = "/etc/postgresql/17/main"

TEXT = """
stack: small
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  db-2: {address: 10.0.0.2, roles: [db]}
  db3: {address: 10.0.0.3, roles: [db]}
  app1: {address: 10.0.0.4, roles: [app]}
  bak1: {address: 10.0.0.5, roles: [backup]}
  mon1: {address: 10.0.0.6, roles: [monitoring]}
  other: {address: 10.0.0.7}
services: {web: {source: ., project: p}}
database: {name: shop, synchronous: true}
"""


def small_stack() -> Stack:
    """Return a stack with three db hosts and one host of each kind that uses them."""
    return inventories.parse(TEXT, "test.yaml", Path())


def vault_of(small: Stack) -> Vault:
    """Return a vault with a value for every secret of the role."""
    return Vault(
        passwords={name: Secret(name, f"pw-of-{name}") for name in by_name(small, {"db": db.ROLE})},
        certificates={name: Certificate("chain", Secret(f"{name}.key", "key")) for name in small.hosts},
        authority="authority",
    )


def resources_of(stack: Stack, vault: Vault, host: str = "db1") -> list[Resource]:
    """Return the resources of the role on a host."""
    return inventories.wanted(db.ROLE, stack, host, vault)


def text_of(resources: list[Resource], path: str) -> str:
    """Return the content of a file."""
    (found,) = [item for item in resources if isinstance(item, File) and item.path == path]
    return found.content.decode()
