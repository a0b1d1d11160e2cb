"""Setup of all tests: programs that they start can be interrupted, and write no cache to the operator's home."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # A background job starts with SIGINT ignored, and every program that the tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The workers of a run inherit the variables from their parent.
    if not hasattr(config, "workerinput"):
        before = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ.setdefault("PIP_CACHE_DIR", str(before / "pip"))
        kept = tempfile.TemporaryDirectory(prefix="plainstack-cache-")
        os.environ["XDG_CACHE_HOME"] = kept.name
        config.add_cleanup(kept.cleanup)
