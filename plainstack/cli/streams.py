"""Standard streams that never raise on a write, even if they are closed or their disk is full.

Lost output must not stop a command that is changing hosts. A command that only shows something asks `output_lost`.
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
    """A text stream that drops everything after its first failed write.

    After that, `ended` is true and `lost` is the reason. The reason is empty if the reader closed its pipe (`| head`),
    which is not an error.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self.ended = False
        self.lost = ""
        # Characters that the stream's encoding lacks become question marks.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="replace")  # type: ignore[attr-defined]  # a method of TextIOWrapper

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`, or drop it after a failure."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write all lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the buffer, or drop it after a failure."""
        self._try(self._stream.flush)

    def _try(self, act: Any) -> None:
        if self.ended:
            return
        try:
            act()
        except BrokenPipeError:
            self._end("")
        except (OSError, ValueError) as error:
            self._end(getattr(error, "strerror", None) or str(error))

    def _end(self, why: str) -> None:
        self.ended = True
        self.lost = why
        # The interpreter flushes the buffer when it exits; the flush must not fail either.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        if why and self._name == "stdout":
            sys.stderr.write(f"{_NAMES[self._name]} cannot be written: {why}\n")
            sys.stderr.flush()


def guard() -> None:
    """Replace the standard streams with Guarded ones, unless something else has replaced them already."""
    for name, number in _NUMBERS.items():
        if getattr(sys, name) is None:
            # Otherwise the next file or connection would get this descriptor, and a child process would write into it.
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
    """Return why standard output lacks some output; empty if all was written or the reader closed its pipe."""
    sys.stdout.flush()
    return getattr(sys.stdout, "lost", "")


def reader_gone() -> bool:
    """Return whether standard output no longer accepts output, so that a command that only shows output can end."""
    return bool(getattr(sys.stdout, "ended", False))
