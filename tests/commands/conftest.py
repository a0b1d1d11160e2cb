"""Fixtures of the tests that run whole commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from tests import inventories


@pytest.fixture(scope="session")
def stack() -> Stack:
    """Return the stack of the default inventory."""
    return inventories.load(Path(__file__).resolve().parents[2] / "hosts.yaml")
