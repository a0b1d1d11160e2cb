"""What pytest is told for running checks, and what this process is meanwhile."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from _pytest._io import TerminalWriter

from plainstack.shipped import CHECKS

# What has no use here, or changes the whole process while several checks run in it.
_LEFT_OUT = (
    "terminal",
    "cacheprovider",
    "faulthandler",
    "logging",
    "threadexception",
    "unraisableexception",
    "warnings",
)


def options(own: Path) -> list[str]:
    """Pytest's options; only the folder `own` may have a conftest.py."""
    # Modules are known by their whole paths, so that two folders may have one of the same name.
    told = ["--import-mode=importlib", "--rootdir=/", f"--confcutdir={own}", "-s", "-c", str(CHECKS / "pytest.ini")]
    return [*told, *(word for plugin in _LEFT_OUT for word in ("-p", f"no:{plugin}"))]


def reporter() -> ModuleType:
    """A reporter that nobody reads."""
    made = ModuleType("reporter")
    made.__dict__["_tw"] = TerminalWriter(io.StringIO())
    return made


@contextlib.contextmanager
def alone(said: io.StringIO, own: Path) -> Iterator[None]:
    """Without what this machine adds to pytest, with what checks print in `said` instead of among the results, and with
    the modules beside a stack's own checks."""
    settings = {"PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    sys.path.append(str(own))
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    finally:
        sys.path.remove(str(own))
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
