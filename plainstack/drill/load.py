"""The load on the site: a child process that sends GET and POST over HTTPS, open loop.

For a lab, it runs inside the lab's network namespace. It reads its settings as one line of JSON on stdin, and writes
every attempt to stdout. It ends when its time is over, or when stdin ends because the parent died.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.inventory.references import resolve

CONNECT_TIMEOUT = 3
ANSWER_TIMEOUT = 12
CLIENTS = 600
IDLE = 8
# Seconds. A connection that was idle for longer is not reused: a proxy closes it after about a minute, and a request
# sent at that moment is lost.
FRESH = 20
SHARDS = 8
# Statuses with which an application may refuse its front page to an unknown visitor.
REFUSALS = frozenset({401, 403, 404, 405, 410})


@dataclass
class Site:
    """The site, for clients whose GETs use persistent connections, and with `reuse` their POSTs too.

    `usual` is the status of the first GET.
    """

    address: str
    name: str
    context: ssl.SSLContext
    path: str
    post_path: str = ""
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    prefix: str = ""
    reuse: bool = False
    port: int = 443
    usual: int = 0
    _idle: list[tuple[float, http.client.HTTPSConnection]] = field(default_factory=list)

    def get(self, _key: int) -> str:
        """Request the page and return the outcome, "ok" for a success.

        Redirects are successes, and so is one of REFUSALS if the first response had the same status.
        """
        outcome = self._request("GET", self.path, None, {})
        if not isinstance(outcome, int):
            return outcome
        self.usual = self.usual or outcome
        answered = 200 <= outcome < 400 or (outcome == self.usual and outcome in REFUSALS)
        return "ok" if answered else f"HTTP {outcome}"

    def post(self, key: int) -> str:
        """Send the write request of the service with this key, and return the outcome, "ok" for a success."""
        known = {"key": f"{self.prefix}{key}", "shard": str(key % SHARDS), "prefix": self.prefix}
        body = resolve(self.body, known.__getitem__)
        headers = {name: resolve(value, known.__getitem__) for name, value in self.headers.items()}
        outcome = self._request("POST", self.post_path, body, headers)
        return outcome if isinstance(outcome, str) else "ok" if outcome in (200, 201) else f"HTTP {outcome}"

    def _request(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> int | str:
        """Send a request, and return the status of the response, or why there was none.

        A server that reloads closes its idle connections, perhaps just when a request arrives on one. A GET is then
        sent again on a new connection, as browsers do (RFC 9112, section 9.3.1). A POST must not be sent twice, so it
        gets a new connection at once, unless `reuse` says that the server does not reload.
        """
        connection = self._known() if method == "GET" or self.reuse else None
        answer = None
        try:
            if connection is not None:
                try:
                    connection.request(method, path, body, headers)
                    answer = connection.getresponse()
                except (ConnectionError, ssl.SSLEOFError):
                    if method != "GET":
                        raise
                    self._close(connection)
            if connection is None or answer is None:
                connection = http.client.HTTPSConnection(self.name, context=self.context)
                connection.sock = self._open()
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
            answer.read()
        except BaseException as error:
            self._close(connection)
            if not isinstance(error, Exception):
                raise
            return explain(error)
        if connection.sock is not None and len(self._idle) < IDLE:
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()
        return answer.status

    def _close(self, failed: http.client.HTTPSConnection | None) -> None:
        """Close a connection, and the idle ones: the address may have moved, and they would fail one by one."""
        if failed is not None:
            failed.close()
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop()[1].close()

    def _open(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self.address, self.port), CONNECT_TIMEOUT)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secure = self.context.wrap_socket(plain, server_hostname=self.name.strip("[]"))
        except BaseException:
            plain.close()
            raise
        secure.settimeout(ANSWER_TIMEOUT)
        return secure

    def _known(self) -> http.client.HTTPSConnection | None:
        with contextlib.suppress(IndexError):
            while True:
                since, connection = self._idle.pop()
                if time.monotonic() - since < FRESH and not _is_closed(connection.sock):
                    return connection
                connection.close()
        return None


def _is_closed(idle: socket.socket) -> bool:
    # A server may close an idle connection, for example when it reloads. Clients usually check for that before they
    # send a request.
    poll = select.poll()
    poll.register(idle, select.POLLIN)
    return bool(poll.poll(0))


def explain(error: Exception) -> str:
    """Return the kind of a failure in a few words, the same for all failures of a kind."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionError | http.client.RemoteDisconnected | http.client.IncompleteRead):
        return "connection reset"
    if isinstance(error, ssl.SSLError):
        return "TLS failed" if not isinstance(error, ssl.SSLEOFError) else "connection reset"
    if isinstance(error, OSError):
        return "unreachable"
    return type(error).__name__


class Reporter:
    """Writes messages from many threads, one on each line; the clock starts with the message "hello"."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.report("hello")
        self._began = time.monotonic()

    def now(self) -> float:
        """Return the seconds since the message "hello"."""
        return time.monotonic() - self._began

    def report(self, *message: Any) -> None:
        """Write one message; end the process if its output is closed."""
        with self._lock:
            try:
                sys.stdout.write(json.dumps(message) + "\n")
                sys.stdout.flush()
            except OSError:
                os._exit(1)


def generate(reporter: Reporter, calls: list[tuple[str, Callable[[int], str]]], rate: float, seconds: float) -> None:
    """Make `rate` calls a second, in rotation; each starts when it is due, even if earlier calls have not ended."""
    busy = threading.Semaphore(CLIENTS)

    def one(kind: str, call: Callable[[int], str], key: int, due: float) -> None:
        try:
            reporter.report("begin", kind, key, due, reporter.now())
            outcome = call(key)
            reporter.report("end", kind, key, reporter.now(), outcome)
        finally:
            busy.release()

    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(int(rate * seconds)):
            due = number / rate
            time.sleep(max(0.0, due - reporter.now()))
            kind, call = calls[number % len(calls)]
            if busy.acquire(blocking=False):
                pool.submit(one, kind, call, number, due)
            else:
                reporter.report("skip", kind, number, due, "not sent: every client was waiting")


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Read the settings, generate the load, and end."""
    settings = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    context = ssl.create_default_context(cadata=settings["authority"])
    # An ACME authority may be a public one.
    context.load_default_certs()
    # Trust a provided certificate itself, because its authority's root may be unknown.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    site = Site(
        settings["address"],
        settings["name"],
        context,
        settings["path"],
        **settings["post"],
    )
    calls: list[tuple[str, Callable[[int], str]]] = [("get", site.get), ("get", site.get), ("post", site.post)]
    reporter = Reporter()
    generate(reporter, calls if settings["post"] else calls[:1], settings["rate"], settings["seconds"])
    reporter.report("bye")
    # Do not wait for outstanding responses: they are recorded as unanswered.
    os._exit(0)


if __name__ == "__main__":
    main()
