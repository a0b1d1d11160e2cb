"""Standard output and error that may be closed, full or gone: writing to them never raises.

A command's work is on hosts; that nobody reads its words, or that a disk has no room for them, must not end it halfway
or change what it says with its exit code.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, TextIO

_NAMES = {"stdout": "standard output", "stderr": "standard error"}
_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Guarded:
    """A text stream whose first failed write is its last; what follows is dropped.

    `lost` says why, and is empty while all was written. A reader that went away (`| head`) took what it wanted: that is
    no loss.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._ended = False
        self.lost = ""
        # A terminal that cannot show a character shows a question mark in its place.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="replace")  # type: ignore[attr-defined]  # of a TextIOWrapper, as a rule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write all lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, or drop what is left."""
        self._try(self._stream.flush)

    def _try(self, act: Any) -> None:
        if self._ended:
            return
        try:
            act()
        except BrokenPipeError:
            self._end("")
        except (OSError, ValueError) as error:
            self._end(getattr(error, "strerror", None) or str(error))

    def _end(self, why: str) -> None:
        self._ended = True
        self.lost = why
        # What is still in the buffer is flushed when the interpreter ends, and must find a file that takes it.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        if why and self._name == "stdout":
            sys.stderr.write(f"{_NAMES[self._name]} cannot be written: {why}\n")
            sys.stderr.flush()


def guard() -> None:
    """Make the process's standard streams such ones, unless something else has replaced them already."""
    for name, number in _NUMBERS.items():
        if getattr(sys, name) is None:
            # Else the next file or connection gets this number, and a child process writes into it.
            with contextlib.suppress(OSError):
                _occupy(number)
            stream = Path(os.devnull).open("r" if number == 0 else "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
            setattr(sys, name, stream if number == 0 else Guarded(stream, name))
        elif number and getattr(sys, name) is getattr(sys, f"__{name}__"):
            setattr(sys, name, Guarded(getattr(sys, name), name))


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def output_lost() -> str:
    """Why not all of standard output was written; empty when it was, or when its reader went away."""
    sys.stdout.flush()
    return getattr(sys.stdout, "lost", "")
