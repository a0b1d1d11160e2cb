"""Secrets that a command prints on the operator's machine; their values are never written to a disk there."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO

from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.secrets.declaration import LONGEST, FromCommand, unfit
from plainstack.secrets.values import Secret

SECONDS = 60
# A message quotes at most this many bytes from the end of a command's stderr.
_TAIL = 2000

# Values by folder and command line: a rotation opens the secrets several times but runs each command once.
_known: dict[tuple[Path, str], str] = {}


@dataclass
class _Run:
    """A command that was started; it counts as `late` until it has ended within the time limit."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    out: bytes = b""
    late: bool = True


def values(lines: Mapping[str, str], folder: Path, seconds: float = SECONDS) -> dict[str, Secret]:
    """Run the command of each secret, and return its output as the value, without the newline at its end.

    `lines` maps the names of secrets to shell command lines. They run in parallel, in `folder`, without a terminal and
    with an empty stdin. Raises Refused with the stderr of every command that fails, prints nothing, or takes longer
    than `seconds`. No message contains the output of a command.
    """
    missing = {line for line in lines.values() if (folder, line) not in _known}
    problems: dict[str, str] = {}
    with contextlib.ExitStack() as ends:
        runs: dict[str, _Run] = {}
        for line in missing:
            errors = ends.enter_context(tempfile.TemporaryFile())
            runs[line] = _Run(_start(line, folder, errors), errors)
            ends.callback(_end, runs[line].process)
        _await(runs.values(), seconds)
        for line, run in runs.items():
            if why := _problem(run, seconds):
                problems[line] = why
            else:
                _known[folder, line] = _text(run)
    if problems:
        found = [f"{name}: {problems[line]}" for name, line in lines.items() if line in problems]
        raise Refused("\n".join(found))
    return {name: Secret(name, _known[folder, line]) for name, line in lines.items()}


def _text(run: _Run) -> str:
    return run.out.decode().removesuffix("\n")


def _problem(run: _Run, seconds: float) -> str:
    """Return why a command gave no usable value, with the end of its stderr; empty if it gave one."""
    if len(run.out) > LONGEST + 1:
        why = f"its command prints more than {LONGEST:,} bytes"
    elif run.late:
        why = f"its command did not end within {seconds:g} s"
    elif code := run.process.returncode:
        why = f"its command failed (exit code {code})"
    else:
        try:
            why = unfit(_text(run), FromCommand(""))
        except UnicodeDecodeError:
            why = "must be UTF-8 text"
        if not why:
            return ""
        why = f"what its command prints {why}"
    run.errors.seek(max(0, run.errors.seek(0, os.SEEK_END) - _TAIL))
    tail = run.errors.read().decode(errors="replace").splitlines()[-5:]
    return "\n".join([why, *(f"    {line}" for line in tail)])


def _start(line: str, folder: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    # In a session of its own, the command can be killed with its children, and it cannot read from the terminal.
    return subprocess.Popen(
        ["/bin/sh", "-c", line],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    )


def _await(runs: Collection[_Run], seconds: float) -> None:
    """Read the output of the commands until all of them have ended, or the time is up."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for run in runs:
            selector.register(run.process.stdout, selectors.EVENT_READ, run)  # type: ignore[arg-type]  # it is a pipe
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                data = os.read(key.fd, 1 << 16)
                key.data.out += data
                if not data or len(key.data.out) > LONGEST + 1:
                    selector.unregister(key.fileobj)
    for run in runs:
        # A command that prints too much is not waited for.
        if len(run.out) <= LONGEST + 1:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(max(0.0, deadline - time.monotonic()))
                run.late = False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
