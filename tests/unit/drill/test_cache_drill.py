"""The drill of the cache: what it breaks and refuses, its verdict, and the client that writes to the cache."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from plainstack.cli import drill_commands
from plainstack.drill import faults
from plainstack.drill.history import Attempt, Kind
from plainstack.drill.measures import Budgets, Ending, Marks, Rule
from plainstack.drill.verdict import Verdict, judge
from plainstack.drill.writer import Cache, Failed
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.shipped import ROOT
from tests import inventories
from tests.waiting import PATIENCE

INVENTORY = """
stack: small
ssh: {gateway: lab}
hosts:
  lb1: {address: 10.0.0.2, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
  c1: {address: 10.0.0.5, roles: [cache]}
  c2: {address: 10.0.0.6, roles: [cache]}
  c3: {address: 10.0.0.7, roles: [cache]}
services:
  web:
    kind: binary
    source: Makefile
    processes: {web: {command: serve, port: 8000, health: /ping}}
"""


def stack(*, without: tuple[str, ...] = ()) -> Stack:
    lines = [line for line in INVENTORY.splitlines() if not line.startswith(tuple(f"  {name}:" for name in without))]
    return inventories.parse("\n".join(lines), "hosts.yaml", ROOT)


def test_the_primary_of_the_cache_is_killed_stopped_or_cut_off() -> None:
    found = drill_commands.chosen(stack(), "cache", "all")
    assert [fault.says("c1") for fault in found] == [
        "kill -9 all of valkey-server on c1",
        "stop valkey-server on c1",
        "pull the network cables of c1",
    ]
    assert {fault.hosts(stack()) for fault in found} == {("c1", "c2", "c3")}
    # Replication is asynchronous, so any number of writes may be lost; pages must be there all the time.
    assert faults.budgets(found[0], synchronous=True) == Budgets(write_gap=12, read_gap=2, failed_gets=0)


@pytest.mark.parametrize(
    ("without", "why"),
    [
        (("c1", "c2", "c3"), "^no host has the role cache, so there is nothing to drill$"),
        (("c2", "c3"), "^only c1 has the role cache, so no other host could take over"),
    ],
)
def test_a_cache_without_a_second_host_is_not_drilled(without: tuple[str, ...], why: str) -> None:
    with pytest.raises(Refused, match=why):
        drill_commands.chosen(stack(without=without), "cache", "kill")


def steady(kind: Kind, *, without: tuple[float, float] = (0, 0)) -> list[Attempt]:
    """Return ten attempts a second for 30 s, all of which succeed except those between two times."""
    found = []
    for key in range(300):
        at = key / 10
        outcome = "connection lost" if without[0] <= at < without[1] else "ok"
        found.append(Attempt(kind, key, at, at, at + 0.01, outcome))
    return found


def verdict(lost: int, budgets: Budgets, *more: Rule, lost_posts: int = 0) -> Verdict:
    """Return the verdict on a fault at 5 s after which the cache takes no writes for 7 s and lacks some."""
    tried = [*steady("get"), *steady("post"), *steady("cache", without=(5, 12))]
    confirmed: dict[Kind, list[int]] = {
        kind: [a.key for a in tried if a.kind == kind and a.ok] for kind in ("post", "cache")
    }
    stored = {
        "post": dict.fromkeys(confirmed["post"][lost_posts:], 1),
        "cache": dict.fromkeys(confirmed["cache"][lost:], 1),
    }
    return judge(tried, stored, Marks(load_end=30, fault=5), Ending([], []), budgets, more)  # type: ignore[arg-type]


def test_lost_writes_to_the_cache_are_counted_and_allowed_unless_limited() -> None:
    default = verdict(3, Budgets(write_gap=12, read_gap=2, failed_gets=0))
    assert default.passed, default.rules
    seen = {rule.name: rule.seen for rule in default.rules}
    assert seen["acknowledged writes to the cache lost"] == "3 of 230"
    assert seen["time without writes"] == "7.01 s"
    limited = verdict(3, Budgets(lost=2))
    assert limited.sentence == "fail: acknowledged writes to the cache lost: 3 of 230"


def test_the_database_must_not_lose_anything_when_the_cache_breaks() -> None:
    assert verdict(0, Budgets(), lost_posts=1).sentence == "fail: acknowledged writes lost: 1 of 300"


def test_too_long_a_gap_and_a_missing_successor_fail_the_drill() -> None:
    assert verdict(0, Budgets(write_gap=5)).sentence == "fail: time without writes: 7.01 s"
    nobody = Rule("primary of the cache", "another host", "no host took over", held=False)
    assert verdict(0, Budgets(), nobody).sentence == "fail: primary of the cache: no host took over"


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the port of a server that gives these answers, one to each command, and the commands that it gets."""
    commands: list[bytes] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            for answer in answers:
                commands.append(connection.recv(4096))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], commands
        thread.join(PATIENCE)


def test_a_write_is_a_key_that_expires() -> None:
    with server(b"+OK\r\n", b"+OK\r\n") as (port, commands):
        cache = Cache("x", {"host": "127.0.0.1", "port": port, "password": "secret"})
        with cache.connect() as connection:
            cache.write(connection, 7)
    assert commands == [
        b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n",
        b"*5\r\n$3\r\nSET\r\n$20\r\nplainstack-drill:x:7\r\n$1\r\n1\r\n$2\r\nEX\r\n$4\r\n3600\r\n",
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "NOREPLICAS"),
        (b"-READONLY You can't write against a read only replica.\r\n", "READONLY"),
        (b"", "connection lost"),
    ],
)
def test_a_write_counts_only_if_it_was_confirmed(answer: bytes, why: str) -> None:
    with server(b"+OK\r\n", answer) as (port, _):
        cache = Cache("x", {"host": "127.0.0.1", "port": port, "password": "secret"})
        with cache.connect() as connection, pytest.raises(Failed, match=f"^{why}$"):
            cache.write(connection, 7)
