"""Which modules Python caches the bytecode of."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


def cached() -> None:
    """Let Python cache bytecode, unless PYTHONDONTWRITEBYTECODE is set.

    Invoke turns this off for all modules, because of tasks.py. In a checkout, where no installation compiles them, each
    command would then compile every module again.
    """
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)


@contextlib.contextmanager
def uncached() -> Iterator[None]:
    """Do not cache the bytecode of modules that are imported in a `with` block.

    Python compares only the size of a file and the second of its change. A file that is edited within a second of its
    last use could run as before, and the modules of a person's stack are not ours to clutter.
    """
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
