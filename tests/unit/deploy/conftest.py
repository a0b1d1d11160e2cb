"""The fixture of tests that write their own checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack import shipped


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that replaces the shipped checks."""
    monkeypatch.setattr(shipped, "ROOT", tmp_path)
    # Checks get their temporary folders in the test's own. Beside those of other test runs, the clean-up of such a run
    # could make this one fail.
    monkeypatch.setenv("PYTEST_DEBUG_TEMPROOT", str(tmp_path))
    folder = tmp_path / "checks"
    folder.mkdir()
    return folder
