"""What the tests of whole commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.inventory import load
from plainstack.inventory.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The default inventory."""
    return load.load(Path(__file__).resolve().parents[2] / "hosts.yaml")
