"""What tests of checks share: a folder for checks of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack import shipped


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the shipped checks."""
    monkeypatch.setattr(shipped, "ROOT", tmp_path)
    folder = tmp_path / "checks"
    folder.mkdir()
    return folder
