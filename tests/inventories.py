"""Inventories as commands read them: with the keys of all roles that Plainstack ships."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from plainstack.engine import declared
from plainstack.engine.network import Network
from plainstack.engine.resources import Resource
from plainstack.engine.role import Role, shape
from plainstack.inventory import load as loading
from plainstack.inventory.shape import Shape
from plainstack.inventory.stack import Stack
from plainstack.inventory.yaml_reader import Text
from plainstack.roles import registry
from plainstack.secrets.declaration import DeclaredSecret, Needed
from plainstack.secrets.values import Vault


def incidents() -> str:
    """Return the example application as a service, in YAML on one line, with its settings in the default inventory."""
    root = Path(__file__).resolve().parents[1]
    web = yaml.safe_load((root / "hosts.yaml").read_text(encoding="utf-8"))["services"]["web"]
    text: str = yaml.safe_dump({**web, "source": str(root / web["source"])}, default_flow_style=True, width=10**6)
    return text.strip()


@cache
def shipped_shape() -> Shape:
    """Return the models behind an inventory with all shipped roles."""
    return shape(registry())


def read(text: str, name: str, folder: Path) -> Text:
    """Read an inventory's text with all that it extends, without checking it."""
    return loading.read(text, name, folder, shipped_shape())


def parse(text: str, name: str, folder: Path) -> Stack:
    """Parse the text of an inventory."""
    return loading.parse(text, name, folder, shipped_shape())


def load(path: Path) -> Stack:
    """Load the inventory in a file."""
    return loading.load(path, shipped_shape())


def needed(stack: Stack) -> Needed:
    """Return the secrets that the shipped roles declare for a stack."""
    return declared.needed(stack, registry())


def passwords(*names: str) -> Needed:
    """Return a Needed with generated secrets of these names, and without certificates."""
    return Needed(tuple(map(DeclaredSecret, names)))


def network(stack: Stack) -> Network:
    """Return the network of a stack: what the shipped roles offer and use."""
    return Network(stack, registry())


def wanted(role: Role, stack: Stack, host: str, vault: Vault) -> list[Resource]:
    """Return the resources that a role wants on a host."""
    return list(role.desired(stack, stack.hosts[host], vault, network(stack)))
