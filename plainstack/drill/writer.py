"""Writes rows directly to PostgreSQL. This file is sent to an app host, where a Python with psycopg runs it.

argv: drill id, kind, rate, seconds; the first line of stdin is a JSON object with the parameters of the connection. The
file imports nothing from Plainstack. The program ends when its time is over, or when stdin ends because the operator's
connection broke.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

CLIENTS = 40
GRACE = 10


def connect(login: dict[str, Any], strict: bool) -> Any:
    """Return a connection whose timeouts detect a dead host within seconds; with `strict`, only to a primary."""
    return psycopg.connect(
        **login,
        sslmode="verify-full",
        target_session_attrs="read-write" if strict else "any",
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
        ("terminating", "connection lost"),
    )
    return next((kind for word, kind in kinds if word in text), type(error).__name__)


class Writer:
    """Clients that reuse their connections, and reconnect when one breaks."""

    def __init__(self, drill: str, kind: str, login: dict[str, Any]) -> None:
        self.drill, self.kind, self.login = drill, kind, login
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
        """Insert one row; return "ok" only if the commit was confirmed, otherwise the kind of failure."""
        connection = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = connect(self.login, self.kind == "sql")
            statement = "insert into plainstack_drill.write (drill, kind, key) values (%s, %s, %s)"
            connection.execute(statement, (self.drill, self.kind, key))
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
            self._idle.clear()
            return explain(error)
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
    writer = Writer(drill, kind, login)
    generate(writer, float(rate), float(seconds))
    writer.report("bye")
    os._exit(0)


if __name__ == "__main__":
    main()
