"""Detection of a dead primary, as by a monitor: clients cannot write, and the primary does not report that it works."""

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

# After how many seconds without a write the primary is suspected, and how many seconds it then has to answer.
SUSPICION, DENIAL = 1.0, 1.0
UNNOTICED = 15.0


def await_death(clients: Clients, primary: Session, now: Callable[[], float], since: float) -> float:
    """Wait until the primary is found dead; return for how many seconds no write had succeeded.

    `since` is when the fault began. Raises Refused if writes continue for UNNOTICED seconds, or if a generator dies.
    """
    while now() < since + UNNOTICED and not clients.broken():
        quiet = now() - (clients.last_write() or since)
        if quiet >= SUSPICION and not denies(primary):
            return quiet
        time.sleep(0.05)
    raise Refused((clients.deaths() or ["the fault was not noticed: writes continued"])[0])


def denies(primary: Session) -> bool:
    """Return whether the primary reports within DENIAL seconds that it works."""
    answers: Queue[bool] = Queue()

    def ask() -> None:
        with suppress(HostFailed):
            answers.put(primary.script(READY, timeout=5).code == 0)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=DENIAL)
    except Empty:
        return False
