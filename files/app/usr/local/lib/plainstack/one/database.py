"""Reads and writes the lease's row in PostgreSQL, in a child process, so that a hanging query never blocks the guard.

The connection's settings come from libpq's environment variables: PGHOST, PGDATABASE, PGUSER and so on.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from lease import ANSWER, FREE, Ask, Row, Verb

CONNECT_SECONDS = 2
_COLUMNS = "holder, tenure, beat, failures, to_char(since at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'), tick"
# Without the lock, "create table if not exists" fails if two hosts run it at the same moment.
_CREATE = """
begin;
select pg_advisory_xact_lock(hashtext('plainstack.lease'));
create schema if not exists plainstack;
create table if not exists plainstack.lease (
    name text primary key, holder text not null, tenure text not null, beat bigint not null,
    failures integer not null, since timestamptz not null, renewed timestamptz not null);
alter table plainstack.lease add column if not exists tick bigint not null default 0;
commit;
"""
# Each statement is one message and one transaction: a host that dies between two of them leaves no row locked.
_LOOK = f"select {_COLUMNS} from plainstack.lease where name = %(name)s"  # noqa: S608 - built from constants
# The holder of a missing row is unknown, so the new row must expire like that of any other holder.
_ADD = """
insert into plainstack.lease values (%(name)s, '', %(unknown)s, 0, 0, now(), now()) on conflict do nothing
"""
_CHANGES: Mapping[Verb, str] = {
    Verb.TAKE: f"""
update plainstack.lease
   set holder = %(host)s, tenure = %(tenure)s, beat = %(beat)s, tick = greatest(tick, %(tick)s),
       since = clock_timestamp(), renewed = clock_timestamp()
 where name = %(name)s and tenure = %(seen_tenure)s and beat = %(seen_beat)s
   and (%(tick)s = 0 or tick < %(tick)s) returning {_COLUMNS}""",  # noqa: S608 - built from constants
    Verb.RENEW: f"""
update plainstack.lease set beat = %(beat)s, failures = %(failures)s, renewed = clock_timestamp()
 where name = %(name)s and tenure = %(tenure)s and beat < %(beat)s returning {_COLUMNS}""",  # noqa: S608 - likewise
    Verb.RELEASE: f"""
update plainstack.lease
   set holder = '', tenure = '{FREE}', failures = %(failures)s, since = clock_timestamp(), renewed = clock_timestamp()
 where name = %(name)s and tenure = %(tenure)s returning {_COLUMNS}""",  # noqa: S608 - likewise
}


_Found = tuple[str, str, int, int, str, int]


@dataclass(frozen=True)
class Unacknowledged:
    """A missing answer, which leaves the effect of the question unknown; `why` is the reason."""

    why: str


class Database:
    """The guard's end of the socket to the child process: one question at a time, each with a deadline."""

    def __init__(self, name: str, host: str, tenure: str, ttl: float) -> None:
        self._known = {"name": name, "host": host, "tenure": tenure}
        self._ttl = ttl
        self._hosts = os.environ.get("PGHOST", "").count(",") + 1
        self._pid = 0
        self._end: socket.socket | None = None
        self._asked: Ask | None = None
        self._until = 0.0

    @property
    def idle(self) -> bool:
        """Whether no question is waiting for its answer."""
        return self._asked is None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when an answer arrives; -1 without a child process."""
        return self._end.fileno() if self._end else -1

    def ask(self, ask: Ask) -> None:
        """Send a question to the child process; start one if there is none."""
        limit = ANSWER * self._ttl
        if self._end is None:
            self._fork()
            limit += CONNECT_SECONDS * self._hosts
        assert self._end
        self._asked, self._until = ask, ask.at + limit
        with contextlib.suppress(OSError):
            self._end.send(pickle.dumps(ask))

    def answer(self, now: float) -> tuple[Ask, Row | Unacknowledged | None] | None:
        """Return the question with its answer, or with Unacknowledged; None while the answer may still come."""
        if self._asked is None or self._end is None:
            return None
        ready, _, _ = select.select([self._end], [], [], 0)
        if not ready and now < self._until:
            return None
        ask, self._asked = self._asked, None
        answer = self._receive() if ready else Unacknowledged(f"no answer within {self._until - ask.at:g} s")
        if isinstance(answer, Unacknowledged):
            self.close()
        return ask, answer

    def _receive(self) -> Row | Unacknowledged | None:
        assert self._end
        try:
            packet = self._end.recv(65536)
        except ConnectionResetError:
            packet = b""
        if not packet:
            return Unacknowledged("the process that sends the queries has ended")
        answer: Row | Unacknowledged | None = pickle.loads(packet)  # noqa: S301 - written by our own child process
        return answer

    def close(self) -> None:
        """Kill the child process, even if it hangs."""
        if self._end:
            self._end.close()
            self._end = None
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _fork(self) -> None:
        self._end, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            self._end.close()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            _serve(far, self._known, self._ttl)
            os._exit(0)
        far.close()


def _serve(far: socket.socket, known: Mapping[str, str], ttl: float) -> None:
    """Answer questions over one connection, until it fails."""
    warnings: list[str] = []
    connection = None
    try:
        while packet := far.recv(65536):
            if connection is None:
                connection = _connect(known["name"], ttl)
                connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or "a warning"))
            warnings.clear()
            row = _do(connection, known, pickle.loads(packet))  # noqa: S301 - written by the guard
            # A commit whose wait for a standby was canceled succeeds with a warning, and may be lost.
            if warnings:
                raise psycopg.OperationalError(warnings[0])
            far.send(pickle.dumps(row))
    except (psycopg.Error, OSError) as error:
        with contextlib.suppress(OSError):
            far.send(pickle.dumps(Unacknowledged(" ".join(str(error).split()) or type(error).__name__)))
    except BaseException:  # noqa: BLE001 - a child must never return into the guard's code
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _connect(name: str, ttl: float) -> psycopg.Connection[_Found]:
    settings = {
        # A commit must wait for the standbys that the server requires, whatever the account's own settings are.
        "synchronous_commit": "on",
        "client_min_messages": "warning",
        # A statement that is blocked by a hanging renewal must not outlive its client.
        "statement_timeout": f"{int(ANSWER * ttl * 1000)}ms",
        "idle_in_transaction_session_timeout": "5s",
    }
    return psycopg.connect(
        autocommit=True,
        # The simple protocol confirms a statement after its commit, the extended one before.
        cursor_factory=psycopg.ClientCursor,
        application_name=f"lease {name}",
        target_session_attrs="read-write",
        # A former primary that still accepts connections must not be tried first every time.
        load_balance_hosts="random",
        connect_timeout=CONNECT_SECONDS,
        tcp_user_timeout=int(ANSWER * ttl * 1000),
        options=" ".join(f"-c {key}={value}" for key, value in settings.items()),
    )


def _do(connection: psycopg.Connection[_Found], known: Mapping[str, str], ask: Ask) -> Row | None:
    values: dict[str, object] = {**known, "beat": ask.beat, "failures": ask.failures, "tick": ask.tick}
    if ask.seen:
        values |= {"seen_tenure": ask.seen.tenure, "seen_beat": ask.seen.beat}
    if ask.verb is not Verb.LOOK:
        found = connection.execute(_CHANGES[ask.verb], values).fetchone()
        return Row(*found) if found else None
    try:
        found = connection.execute(_LOOK, values).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        connection.execute(_CREATE)
        found = None
    if found is None:
        connection.execute(_ADD, {**values, "unknown": f"unknown {uuid.uuid4()}"})
        found = connection.execute(_LOOK, values).fetchone()
    return Row(*found) if found else None
