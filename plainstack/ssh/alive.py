"""Checks whether the host at the other end of a connection still answers."""

from __future__ import annotations

import contextlib
import threading
import time

import paramiko

# After this many seconds without output, a request is sent to the host's sshd, which has PATIENCE seconds to answer.
ASK_AFTER = 8
PATIENCE = 10


def still_there(transport: paramiko.Transport, heard: float) -> float:
    """Return when the host last answered (monotonic time); `heard` is the time known so far.

    Raises OSError if the host no longer answers.
    """
    if not transport.is_active():
        raise OSError("no answer to keepalives")
    if time.monotonic() - heard <= ASK_AFTER:
        return heard
    if not answers(transport):
        raise OSError(f"no answer for {ASK_AFTER + PATIENCE} s")
    return time.monotonic()


def answers(transport: paramiko.Transport) -> bool:
    """Return whether the host's sshd answers a request; behind a jump host, our own TCP connection cannot tell."""
    answered = threading.Event()

    def ask() -> None:
        # An error here means that the host did not answer.
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            transport.global_request("alive@plainstack", wait=True)
            answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(PATIENCE) and transport.is_active()
