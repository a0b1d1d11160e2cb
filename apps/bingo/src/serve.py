"""run_server: answer requests, until the program is asked to end."""

from __future__ import annotations

import math
import random
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from http.server import ThreadingHTTPServer

from config import Config
from database import Pool
from pages import Pages, handler
from say import say

ENDING = {signal.SIGTERM, signal.SIGINT}
SICKENING = {signal.SIGUSR1}


class Server(ThreadingHTTPServer):
    """A server that answers what it has accepted before it ends."""

    request_queue_size = 128
    daemon_threads = False

    def __init__(self, place: tuple[str, int], pages: Pages) -> None:
        self.connections: set[socket.socket] = set()
        self._changing = threading.Lock()
        super().__init__(place, handler(pages))

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override] # for TCP only
        """Start a thread for a connection."""
        with self._changing:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override] # for TCP only
        """Close a connection."""
        with self._changing:
            self.connections.discard(request)
        super().shutdown_request(request)

    def end(self) -> None:
        """Accept the connections that wait, answer the requests that have arrived, and close all connections."""
        self.timeout = 0
        while select.select([self], [], [], 0)[0]:
            self.handle_request()
        with self._changing:
            for connection in self.connections:
                # A thread that waits for another request sees the end of its input; others answer first.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
        self.server_close()


def run(config: Config, address: str, port: int) -> int:
    """Serve until SIGTERM; return the exit code. SIGUSR1 makes the server sick."""
    # Blocked in all threads: a handler would run late if the signal came just before the main thread waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING | SICKENING)
    pages = Pages(Pool(config.database, config.connections), config.sick_after_requests)
    say(f"starting, which takes {config.start_seconds:g} s")
    if _ended_within(config.start_seconds, pages):
        return 0
    with Server((address, port), pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        say(f"answering at {address}:{server.server_address[1]}")
        healthy = random.expovariate(1 / config.sick_after_seconds) if config.sick_after_seconds else math.inf
        if not _ended_within(healthy, pages):
            pages.fall_sick()
            _ended_within(math.inf, pages)
        say("ending")
        server.shutdown()
        thread.join()
        server.end()
    return 0


def _ended_within(seconds: float, pages: Pages) -> bool:
    """Wait for a signal to end; return whether it came within `seconds`."""
    give_up = time.monotonic() + seconds
    while (left := min(give_up - time.monotonic(), 3600)) > 0:
        came = signal.sigtimedwait(ENDING | SICKENING, left)
        if came and came.si_signo in ENDING:
            return True
        if came:
            pages.fall_sick()
    return False
