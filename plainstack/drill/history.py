"""The attempts of a drill's clients and their outcomes; times are in seconds since the drill began."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from typing import Literal, get_args

from plainstack.dataclass import dataclass

Kind = Literal["get", "post", "sql", "cache", "stray"]
"""GET and POST at the site, INSERT at the database, SET at the cache, and INSERT at an old primary of the database,
which must never succeed."""

WRITES: tuple[Kind, ...] = ("sql", "post", "cache")
OK = "ok"


@dataclass(frozen=True)
class Attempt:
    """One request: when it was due, sent (None: never) and ended (None: unknown), and its outcome."""

    kind: Kind
    key: int
    due: float
    sent: float | None = None
    end: float | None = None
    outcome: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the client got a confirmation."""
        return self.outcome == OK

    @property
    def latency(self) -> float | None:
        """Seconds from when the request was due to its end, so that a wait for a free client counts."""
        return None if self.end is None else self.end - self.due


class Damaged(ValueError):
    """A line of a load generator's output that is not a message."""


@dataclass
class Recorder:
    """Collects the messages of load generators: JSON arrays, one on each line, with times since the message "hello"."""

    attempts: dict[tuple[Kind, int], Attempt] = field(default_factory=dict)
    last_ok: dict[Kind, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def feed(self, line: str, began: float) -> None:
        """Process one message; `began` is the time of the generator's "hello" on the drill's clock.

        Raises Damaged if the line is not a message.
        """
        try:
            verb, kind, key, *rest = json.loads(line)
            if kind not in get_args(Kind):
                raise ValueError(kind)
            with self._lock:
                self._take(verb, kind, int(key), rest, began)
        except (ValueError, TypeError, KeyError) as error:
            raise Damaged(f"not a message of a load generator: {line[:200]!r}") from error

    def _take(self, verb: str, kind: Kind, key: int, rest: Sequence[object], began: float) -> None:
        if verb == "begin":
            due, sent = (began + float(str(value)) for value in rest)
            self.attempts[kind, key] = Attempt(kind, key, due, sent)
        elif verb == "end":
            at, outcome = began + float(str(rest[0])), str(rest[1])
            self.attempts[kind, key] = replace(self.attempts[kind, key], end=at, outcome=outcome)
            if outcome == OK:
                self.last_ok[kind] = max(at, self.last_ok.get(kind, at))
        elif verb == "skip":
            due = began + float(str(rest[0]))
            self.attempts[kind, key] = Attempt(kind, key, due, outcome=str(rest[1]))
        else:
            raise ValueError(verb)

    def history(self) -> tuple[Attempt, ...]:
        """Return every attempt so far, by due time."""
        with self._lock:
            return tuple(sorted(self.attempts.values(), key=lambda attempt: (attempt.due, attempt.kind, attempt.key)))


def dump(attempts: Iterable[Attempt]) -> str:
    """Return a history as JSON lines."""
    return "".join(
        json.dumps([a.kind, a.key, _short(a.due), _short(a.sent), _short(a.end), a.outcome]) + "\n" for a in attempts
    )


def load(text: str) -> tuple[Attempt, ...]:
    """Return the history that `dump` wrote."""
    return tuple(Attempt(*json.loads(line)) for line in text.splitlines())


def _short(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
