"""Detecting a dead primary as a monitor would: clients cannot write, and the primary does not answer that it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue

from plainstack.drill.clients import Clients
from plainstack.drill.database import READY
from plainstack.errors import HostFailed, Refused
from plainstack.ssh.session import Session

# How long clients go without a write before the primary is suspected, and how long it then has to answer.
SUSPICION, DENIAL = 1.0, 1.0
UNNOTICED = 15.0


def await_death(clients: Clients, primary: Session, now: Callable[[], float], since: float) -> float:
    """Wait until the primary is found dead; returns how long there were no writes. Raises Refused if they continue."""
    while now() < since + UNNOTICED and not clients.broken():
        quiet = now() - (clients.last_write() or since)
        if quiet >= SUSPICION and not denies(primary):
            return quiet
        time.sleep(0.05)
    raise Refused((clients.deaths() or ["the fault was not noticed: writes continued"])[0])


def denies(primary: Session) -> bool:
    """Whether the primary answers in time that it works; asked in a thread, as a dead host never answers."""
    answers: Queue[bool] = Queue()

    def ask() -> None:
        with suppress(HostFailed):
            answers.put(primary.script(READY, timeout=5).code == 0)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=DENIAL)
    except Empty:
        return False
