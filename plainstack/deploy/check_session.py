"""The options of the pytest session that runs checks, and the state of the process while it runs."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from _pytest._io import TerminalWriter

from plainstack.bytecode import uncached
from plainstack.shipped import CHECKS

# Plugins that are of no use here, or that change the whole process while several checks run in it.
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
    """Return the options for pytest; only the folder `own` may have a conftest.py."""
    # With importlib, modules in different folders may have the same name.
    words = ["--import-mode=importlib", "--rootdir=/", f"--confcutdir={own}", "-s", "-c", str(CHECKS / "pytest.ini")]
    return [*words, *(word for plugin in _LEFT_OUT for word in ("-p", f"no:{plugin}"))]


def reporter() -> ModuleType:
    """Return a stand-in for pytest's terminal reporter, whose output is discarded."""
    made = ModuleType("reporter")
    made.__dict__["_tw"] = TerminalWriter(io.StringIO())
    return made


@contextlib.contextmanager
def alone(said: io.StringIO, own: Path) -> Iterator[None]:
    """Isolate the session from the pytest settings and plugins of this machine.

    The output of checks goes to `said`, so that it does not mix with the results. Checks can import the modules in the
    folder `own`.
    """
    settings = {"PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    sys.path.append(str(own))
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), uncached():
            yield
    finally:
        sys.path.remove(str(own))
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
