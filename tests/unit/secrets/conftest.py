"""Stacks whose store of secrets is encrypted for a team, and one that has no recipients."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.inventory.sections import SecretStore
from plainstack.inventory.stack import Stack
from tests import inventories
from tests.unit.secrets.teams import TEXT, Team, make_key


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Return the path of the private key and the public key of three people."""
    folder = tmp_path_factory.mktemp("keys")
    return {name: (folder / name, make_key(folder / name)) for name in ("alice", "bob", "carol")}


@pytest.fixture
def plain(tmp_path: Path) -> Stack:
    """Return a stack without recipients."""
    return inventories.parse(TEXT, "my.yaml", tmp_path)


@pytest.fixture
def team(plain: Stack, keys: dict[str, tuple[Path, str]]) -> Team:
    """Return a function that builds the stack with these recipients, as the first of them (or `me`) has it."""

    def build(*names: str, me: str = "") -> Stack:
        ssh = plain.ssh.model_copy(update={"key": keys[me or names[0]][0]})
        recipients = tuple(keys[name][1] for name in names)
        return plain.model_copy(update={"ssh": ssh, "secrets": SecretStore(recipients=recipients)})

    return build
