"""Servers with health pages, on ports of this machine, that answer as a test wants."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress

# What a server does instead of responding with a status.
REFUSES, SILENT, RESETS, CLOSES, JUNK, SHORT, TRICKLES = FAULTS = (
    "refuses connections",
    "never answers",
    "resets connections",
    "closes connections",
    "answers in another protocol",
    "ends in the middle of the body",
    "sends a byte now and then",
)


class HealthServer:
    """A server with one health page; `answer` is the status of its responses, or one of FAULTS."""

    def __init__(self, answer: str = "200") -> None:
        self.answer = answer
        self.requests: list[str] = []
        # While it does not listen, this second socket keeps the port.
        self._keeper = _bound(0)
        self._port = self._keeper.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self._socket = self._listening()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def respond(self, answer: str) -> None:
        """Respond so from now on."""
        before, self.answer = self.answer, answer
        if answer == REFUSES:
            self._socket.shutdown(socket.SHUT_RDWR)
        elif before == REFUSES:
            self._socket.close()
            self._socket = self._listening()

    def close(self) -> None:
        """End the server."""
        self._stopped.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._keeper.close()

    def _listening(self) -> socket.socket:
        opened = _bound(self._port)
        opened.listen()
        return opened

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                self._stopped.wait(0.01)
                continue
            threading.Thread(target=self._handle, args=(connection, self.answer), daemon=True).start()

    def _handle(self, connection: socket.socket, answer: str) -> None:
        with connection, suppress(OSError):
            self.requests.append(connection.recv(4096).decode())
            if answer in (SILENT, TRICKLES):
                self._hold(connection, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000 if answer == TRICKLES else b"")
            elif answer == RESETS:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif answer == JUNK:
                connection.sendall(b"SSH-2.0-OpenSSH_10.0\r\n")
            elif answer == SHORT:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12")
            elif answer != CLOSES:
                connection.sendall(f"HTTP/1.1 {answer} Whatever\r\nContent-Length: 0\r\n\r\n".encode())

    def _hold(self, connection: socket.socket, text: bytes) -> None:
        for number in range(len(text)):
            connection.sendall(text[number : number + 1])
            if self._stopped.wait(0.05):
                return
        self._stopped.wait(60)


def _bound(port: int) -> socket.socket:
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind(("127.0.0.1", port))
    return opened


def close(servers: Sequence[HealthServer]) -> None:
    """End servers."""
    for server in servers:
        server.close()
