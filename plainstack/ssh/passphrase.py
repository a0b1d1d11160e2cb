"""Asks for a passphrase on the terminal, without echo, in any thread."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
from collections.abc import Callable


def ask(question: str, ended: Callable[[], bool]) -> str | None:
    """Ask a question and return the answer; None if there is no terminal, or once `ended` returns true.

    The terminal is polled, because a thread blocked in a read would keep an interrupted command from ending.
    """
    if not sys.stdin or not sys.stdin.isatty():
        return None
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    with contextlib.closing(os.fdopen(terminal, "r+b", buffering=0)):
        before = termios.tcgetattr(terminal)
        silent = before[:]
        silent[3] &= ~termios.ECHO
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
            os.write(terminal, question.encode())
            while not ended():
                if select.select([terminal], [], [], 0.2)[0]:
                    return os.read(terminal, 4096).decode(errors="replace").rstrip("\n")
            return None
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.write(terminal, b"\n")
