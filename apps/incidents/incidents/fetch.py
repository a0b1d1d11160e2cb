"""Asks machines for their metrics. Whatever a machine does becomes a Result; nothing that it does raises an error."""

import http.client
import io
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from incidents import addresses, answers
from incidents.models import Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    outcome: str
    detail: str = ""
    answer: answers.Answer = field(default_factory=answers.Answer)
    taken_at: datetime = field(default_factory=timezone.now)
    milliseconds: int = 0


class Deadline:
    """One time-out for everything, so that a machine that sends a byte a second cannot hold a request open."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class Reader(io.RawIOBase):
    """Reads from a socket until the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock = sock
        self.deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.sock.settimeout(self.deadline.left())
        return self.sock.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)


def fetch_all(urls: Iterable[str]) -> list[Result]:
    """Return a result for each URL, in their order."""
    wanted = list(urls)
    if not wanted:
        return []
    with ThreadPoolExecutor(min(len(wanted), settings.POLL_CONCURRENCY), "poll") as pool:
        return list(pool.map(fetch, wanted))


def fetch(url: str) -> Result:
    taken_at, begun = timezone.now(), time.monotonic()
    answer = answers.Answer()
    try:
        outcome, detail, answer = ask(addresses.parts(url), Deadline(settings.POLL_TIMEOUT))
    except addresses.Forbidden as error:
        outcome, detail = Outcome.FORBIDDEN, str(error)
    except (TimeoutError, ssl.SSLError, http.client.HTTPException, OSError, UnicodeError) as error:
        outcome, detail = failure(error), str(error)
    except Exception as error:  # one machine must not end the round of all others
        log.exception("poll of %s", url)
        outcome, detail = Outcome.ERROR, f"{type(error).__name__}: {error}"
    detail = "".join(letter if letter.isprintable() else "?" for letter in detail)[:300]
    return Result(outcome, detail, answer, taken_at, round((time.monotonic() - begun) * 1000))


def failure(error: Exception) -> Outcome:
    kinds: tuple[tuple[type[Exception], Outcome], ...] = (
        (TimeoutError, Outcome.TIMEOUT),
        (socket.gaierror, Outcome.UNRESOLVED),
        (UnicodeError, Outcome.UNRESOLVED),
        (ssl.SSLError, Outcome.TLS),
        (http.client.HTTPException, Outcome.BROKEN),
        (ConnectionRefusedError, Outcome.REFUSED),
        (ConnectionError, Outcome.BROKEN),  # it was open before: reset, or a broken pipe
    )
    return next((outcome for kind, outcome in kinds if isinstance(error, kind)), Outcome.REFUSED)


def resolved(where: addresses.Parts, deadline: Deadline) -> list[str]:
    """Resolve a name until the deadline. The system's resolver knows none, so that its thread may be left behind."""
    found: Future[list[str]] = Future()

    def look() -> None:
        try:
            found.set_result(addresses.resolve(where.host, where.port, settings.POLL_ALLOW, settings.POLL_DENY))
        except Exception as error:  # noqa: BLE001 - the other thread raises it
            found.set_exception(error)

    threading.Thread(target=look, daemon=True).start()
    return found.result(deadline.left())


def connect(where: addresses.Parts, deadline: Deadline) -> socket.socket:
    """Connect to an address of the host that may be polled; the name is resolved only once."""
    usable = resolved(where, deadline)
    for rest, address in zip(range(len(usable) - 1, -1, -1), usable, strict=True):
        try:
            sock = socket.create_connection((address, where.port), deadline.left() / (rest + 1))
            break
        except OSError:
            if not rest:
                raise
    if not where.tls:
        return sock
    try:
        sock.settimeout(deadline.left())
        return ssl.create_default_context().wrap_socket(sock, server_hostname=where.host)
    except BaseException:
        sock.close()
        raise


def ask(where: addresses.Parts, deadline: Deadline) -> tuple[Outcome, str, answers.Answer]:
    nothing = answers.Answer()
    with connect(where, deadline) as sock:
        name = f"[{where.host}]" if ":" in where.host else where.host
        host = name if where.port == (443 if where.tls else 80) else f"{name}:{where.port}"
        lines = (f"GET {where.target} HTTP/1.1", f"Host: {host}", "Accept: application/json", "Connection: close")
        sock.settimeout(deadline.left())
        sock.sendall("\r\n".join((*lines, "User-Agent: incidents", "", "")).encode())
        response = http.client.HTTPResponse(Reader(sock, deadline), method="GET")  # type: ignore[arg-type] # of a socket, it needs only makefile()
        response.begin()
        if 300 <= response.status < 400:
            return Outcome.REDIRECT, f"{response.status} to {response.headers.get('Location', 'nowhere')}", nothing
        if response.status != 200:
            return Outcome.STATUS, f"{response.status} {response.reason}", nothing
        body = bytearray()
        while chunk := response.read1(65536):
            body += chunk
            if len(body) > settings.POLL_MAX_BODY:
                return Outcome.TOO_LARGE, f"more than {settings.POLL_MAX_BODY} bytes", nothing
        if response.length:
            return Outcome.BROKEN, f"{response.length} bytes of the body are missing", nothing
    try:
        answer = answers.parse(bytes(body))
    except answers.NotAnObject as error:
        return Outcome.BAD_JSON, str(error), nothing
    outcome = Outcome.OK if not answer.problems else Outcome.PARTIAL if answer.values else Outcome.NO_METRICS
    return outcome, ", ".join(answer.problems), answer
