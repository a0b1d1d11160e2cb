"""Writes directly to PostgreSQL or to the cache. This file is sent to a host with services, where Python runs it.

argv: drill id, kind, rate, seconds; the first line of stdin is a JSON object with the parameters of the connection. The
file imports nothing from Plainstack. The program ends when its time is over, or when stdin ends because the operator's
connection broke.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

CLIENTS = 40
GRACE = 10
# Seconds. Keys in the cache expire, in case the drill is killed before it removes them.
EXPIRY = 3600


class Failed(Exception):
    """Why a write failed, in a few words, the same for all failures of a kind."""


class Place(Protocol):
    """Where rows are written to; connections have a method close()."""

    def connect(self) -> Any:
        """Return a new connection. Raises Failed."""

    def write(self, connection: Any, key: int) -> None:
        """Write one row. Raises Failed."""


class Database:
    """The table of drills, over connections whose timeouts detect a dead host within seconds."""

    def __init__(self, drill: str, kind: str, login: dict[str, Any]) -> None:
        import psycopg

        self._psycopg, self._drill, self._kind, self._login = psycopg, drill, kind, login

    def connect(self) -> Any:
        """Return a connection to the primary; strays take the host that they get. Raises Failed."""
        try:
            return self._psycopg.connect(
                **self._login,
                sslmode="verify-full",
                target_session_attrs="any" if self._kind == "stray" else "read-write",
                load_balance_hosts="random",
                connect_timeout=2,
                tcp_user_timeout=3000,
                keepalives=1,
                keepalives_idle=2,
                keepalives_interval=1,
                keepalives_count=3,
                application_name="plainstack-drill",
                autocommit=True,
            )
        except self._psycopg.Error as error:
            raise Failed(explain(error)) from error

    def write(self, connection: Any, key: int) -> None:
        """Insert one row. Raises Failed."""
        statement = "insert into plainstack_drill.write (drill, kind, key) values (%s, %s, %s)"
        try:
            connection.execute(statement, (self._drill, self._kind, key))
        except self._psycopg.Error as error:
            raise Failed(explain(error)) from error


class Cache:
    """The cache, as programs reach it: over the proxy on their own host, which passes on to the primary."""

    def __init__(self, drill: str, login: dict[str, Any]) -> None:
        self._drill, self._login = drill, login

    def connect(self) -> Any:
        """Return a connection. Raises Failed."""
        try:
            connection = socket.create_connection((self._login["host"], self._login["port"]), 2)
            connection.settimeout(3)
        except OSError as error:
            raise Failed(explain(error)) from error
        self._ask(connection, "AUTH", self._login["password"])
        return connection

    def write(self, connection: Any, key: int) -> None:
        """Set one key. Raises Failed."""
        self._ask(connection, "SET", f"plainstack-drill:{self._drill}:{key}", "1", "EX", str(EXPIRY))

    def _ask(self, connection: Any, *words: str) -> None:
        encoded = [word.encode() for word in words]
        command = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in encoded)
        answer = b""
        try:
            connection.sendall(command)
            while not answer.endswith(b"\r\n"):
                part = connection.recv(4096)
                if not part:
                    raise Failed("connection lost")
                answer += part
        except OSError as error:
            raise Failed(explain(error)) from error
        if answer != b"+OK\r\n":
            # An error begins with its kind, such as NOREPLICAS or READONLY.
            raise Failed(answer[1:].split()[0].decode(errors="replace") if answer[1:].split() else "no valid answer")


def explain(error: Exception) -> str:
    """Return the kind of a failure in a few words, the same for all failures of a kind."""
    text = str(error).lower()
    kinds = (
        ("read-only", "read-only"),
        ("starting up", "starting up"),
        ("shutting down", "shutting down"),
        ("refused", "connection refused"),
        ("timeout expired", "timed out"),
        ("timed out", "timed out"),
        ("no route", "unreachable"),
        ("fenced_by", "connection lost"),
        ("eof", "connection lost"),
        ("reset", "connection lost"),
        ("broken pipe", "connection lost"),
        ("terminating", "connection lost"),
    )
    return next((kind for word, kind in kinds if word in text), type(error).__name__)


class Writer:
    """Clients that reuse their connections, and reconnect when one breaks."""

    def __init__(self, kind: str, place: Place) -> None:
        self.kind, self.place = kind, place
        self._idle: list[Any] = []
        self._writing = threading.Lock()
        self.report("hello")
        self._began = time.monotonic()

    def now(self) -> float:
        """Return the seconds since the message "hello"."""
        return time.monotonic() - self._began

    def report(self, *message: Any) -> None:
        """Write one message; end the process if its output is closed."""
        with self._writing:
            try:
                sys.stdout.write(json.dumps(message) + "\n")
                sys.stdout.flush()
            except OSError:
                os._exit(1)

    def write(self, key: int) -> str:
        """Write one row; return "ok" only if it was confirmed, otherwise the kind of failure."""
        connection = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self.place.connect()
            self.place.write(connection, key)
        except Failed as error:
            if connection is not None:
                connection.close()
            self._idle.clear()
            return str(error)
        self._idle.append(connection)
        return "ok"


def generate(writer: Writer, rate: float, seconds: float) -> None:
    """Make `rate` writes a second; each starts when it is due, even if earlier writes have not ended."""
    busy = threading.Semaphore(CLIENTS)

    def one(key: int, due: float) -> None:
        try:
            writer.report("begin", writer.kind, key, due, writer.now())
            outcome = writer.write(key)
            writer.report("end", writer.kind, key, writer.now(), outcome)
        finally:
            busy.release()

    pool = ThreadPoolExecutor(CLIENTS)
    futures = []
    for key in range(int(rate * seconds)):
        due = key / rate
        time.sleep(max(0.0, due - writer.now()))
        if busy.acquire(blocking=False):
            futures.append(pool.submit(one, key, due))
        else:
            writer.report("skip", writer.kind, key, due, "not sent: every client was waiting")
    give_up = time.monotonic() + GRACE
    while time.monotonic() < give_up and not all(future.done() for future in futures):
        time.sleep(0.05)


def end_with_parent() -> None:
    """End the process when stdin ends, because its output is no longer read."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Write until the time is over."""
    drill, kind, rate, seconds = sys.argv[1:]
    login = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    writer = Writer(kind, Cache(drill, login) if kind == "cache" else Database(drill, kind, login))
    generate(writer, float(rate), float(seconds))
    writer.report("bye")
    os._exit(0)


if __name__ == "__main__":
    main()
