"""What the tests of whole commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack import inventory_file
from plainstack.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The default inventory."""
    return inventory_file.load(Path(__file__).resolve().parents[2] / "hosts.yaml")
