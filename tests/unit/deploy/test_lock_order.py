"""Runs that start at the same moment: at least one gets all its locks, and the others name the run that has them."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plainstack.deploy import lock
from plainstack.deploy.lock import Locks
from plainstack.errors import Refused
from plainstack.ssh.connections import Sessions
from plainstack.ssh.held import Held
from plainstack.ssh.session import Session
from tests import sshd
from tests.sshd import Server
from tests.waiting import PATIENCE

HOSTS = ("app1", "app2", "db1", "db2")


class Turns:
    """Lets one thread continue at a time, in the order of a schedule, so that requests can interleave in any way."""

    def __init__(self, schedule: list[int], count: int) -> None:
        self._schedule, self._busy = schedule, set(range(count))
        self._waiting: dict[int, threading.Event] = {}
        self._guard = threading.Lock()

    def mine(self, me: int) -> None:
        turn = threading.Event()
        with self._guard:
            self._waiting[me] = turn
            self._busy.discard(me)
            self._next()
        assert turn.wait(PATIENCE)

    def ended(self, me: int) -> None:
        with self._guard:
            self._busy.discard(me)
            self._next()

    def _next(self) -> None:
        if not self._busy and self._waiting:
            ready = sorted(self._waiting)
            chosen = ready[(self._schedule.pop(0) if self._schedule else 0) % len(ready)]
            self._busy.add(chosen)
            self._waiting.pop(chosen).set()


class Host:
    """A host's lock, as one run sees it."""

    def __init__(self, me: int, name: str, holders: dict[str, int], turns: Turns) -> None:
        self.me, self.name, self.holders, self.turns = me, name, holders, turns

    def hold(self, _command: str, /) -> Host:
        return self

    def ask(self, _question: str, /) -> str:
        self.turns.mine(self.me)
        holder = self.holders.setdefault(self.name, self.me)
        return "locked" if holder == self.me else f"held run {holder}"

    def release(self) -> None:
        if self.holders.get(self.name) == self.me:
            self.turns.mine(self.me)
            del self.holders[self.name]


@settings(max_examples=50)
@given(
    wanted=st.lists(st.lists(st.sampled_from(HOSTS), min_size=1, unique=True), min_size=2, max_size=3),
    schedule=st.lists(st.integers(0, 2), max_size=40),
)
def test_if_several_runs_start_together_one_gets_all_its_locks(wanted: list[list[str]], schedule: list[int]) -> None:
    """This holds for any choice and order of hosts, and for any interleaving of the requests."""
    turns, holders = Turns(schedule, len(wanted)), dict[str, int]()
    refused: dict[int, str] = {}

    def run(me: int) -> None:
        try:
            lock.hold(wanted[me], lambda name: Host(me, name, holders, turns), "me")
        except Refused as refusal:
            refused[me] = str(refusal)
        turns.ended(me)

    threads = [threading.Thread(target=run, args=(me,)) for me in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = set(range(len(wanted))) - set(refused)
    assert winners
    assert holders == {name: me for me in winners for name in wanted[me]}
    assert all("another run is at work: run " in text for text in refused.values())


class Named:
    """A session to one machine that uses a separate lock file for each host name."""

    def __init__(self, session: Session, name: str) -> None:
        self.session, self.name = session, name

    def hold(self, line: str, /) -> Held:
        return self.session.hold(line.replace("@HOST@", self.name))


def _operator(server: Server, folder: Path, me: str, names: str, start: Barrier, end: Barrier, said: Any) -> None:
    with Sessions(server.stack(folder)) as sessions:
        session = sessions.to("db1")
        locks = Locks(str(folder / "@HOST@-lock"))
        for number in range(ROUNDS):
            start.wait(PATIENCE)
            try:
                releases = lock.hold(names, lambda name: Named(session, name), me, locks)
            except Refused as refusal:
                said.put((number, me, str(refusal)))
                releases = []
            else:
                said.put((number, me, ""))
            end.wait(PATIENCE)
            for release in releases:
                release()
            # A release does not wait for the host: without this, the next round would meet the lock of this one.
            for name in names:
                session.run(f"flock -w {PATIENCE} '{folder}/{name}-lock' true", timeout=PATIENCE)


ROUNDS = 5


@pytest.mark.programs
@sshd.needed
def test_one_of_two_operators_wins_and_the_other_sees_the_winners_name(server: Server, tmp_path: Path) -> None:
    """Two processes lock the same hosts over a real sshd, one of them in reverse order."""
    context = multiprocessing.get_context("spawn")
    start, end, said = context.Barrier(2), context.Barrier(2), context.Queue()
    operators = [
        context.Process(target=_operator, args=(server, tmp_path, me, names, start, end, said))
        for me, names in (("ann", "abc"), ("bob", "cba"))
    ]
    for operator in operators:
        operator.start()
    answers = [said.get(timeout=3 * PATIENCE) for _ in range(2 * ROUNDS)]
    for operator in operators:
        operator.join(PATIENCE)
        assert operator.exitcode == 0
    for number in range(ROUNDS):
        # Answers arrive in any order, and an answer of one round may arrive after the next round has begun.
        outcome = {me: refusal for of, me, refusal in answers if of == number}
        assert len(outcome) == 2
        (winner,) = [me for me, refusal in outcome.items() if not refusal]
        (loser,) = set(outcome) - {winner}
        assert outcome[loser] == f"a: another run is at work: {winner}"
