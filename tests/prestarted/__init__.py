"""Runs of `inv` and `fab` without the start of an interpreter, for tests of what a command does.

A server, one for each process of pytest, has imported Plainstack and forks for each command. The command is a process
of its own, with its own arguments, variables, folder and streams. Tests of the start itself, of signals, terminals and
closed streams start the real program.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from plainstack.shipped import ROOT

_CLIENT = Path(__file__).with_name("client.py")


def program(name: str) -> list[str]:
    """Return the first words of a command line that runs `inv` or `fab`, or the Python program at an absolute path."""
    # Without -S and -E, the client would start like any interpreter.
    return [sys.executable, "-ISE", str(_CLIENT), _server(), str(Path(sys.executable).parent / name)]


@cache
def _server() -> str:
    """Start the server; return the path of its socket, at which it listens before the first command needs it."""
    folder = tempfile.TemporaryDirectory(prefix="plainstack-tests-")
    place = f"{folder.name}/socket"
    # The server ends with its standard input, that is, with this process.
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.prestarted.server", place],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin
    assert server.stdout
    assert server.stdout.readline() == b"listening\n"

    def end() -> None:
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    return place
