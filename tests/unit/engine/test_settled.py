"""A run that meets an unfinished earlier run reports what it waits for, and for how long at most."""

from __future__ import annotations

from collections.abc import Iterable

from plainstack.engine.observed import Observed, Unfinished
from plainstack.engine.paths import GUARD_SECONDS
from plainstack.engine.settled import SETTLED_WITHIN, UNDO_WITHIN, settled

REST = Observed()


class Host:
    """A host that gives one answer after another and then repeats the last; its clock advances with each wait."""

    def __init__(self, answers: Iterable[Observed]) -> None:
        self.answers = list(answers)
        self.now = 0.0
        self.notes: list[str] = []
        self.undone = 0

    def look(self) -> Observed:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def undo(self) -> None:
        self.undone += 1

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def settle(self, *, to_apply: bool) -> Observed:
        return settled(
            "db1", self.look, self.notes.append, self.undo if to_apply else None, lambda: self.now, self.wait
        )


def test_an_idle_host_is_observed_once_and_nothing_is_reported() -> None:
    host = Host([REST, Observed(ending=True)])
    assert host.settle(to_apply=True) is REST
    assert (host.notes, host.undone, host.now) == ([], 0, 0)


def test_every_wait_is_reported_once_with_its_host_reason_and_time_limit() -> None:
    host = Host([Observed(ending=True)] * 3 + [Observed(guard_pending=True, guard_left=25)] * 3 + [REST])
    host.settle(to_apply=False)
    ends, undoes = "finish an earlier run", "undo the unconfirmed change of an earlier run"
    assert host.notes == [
        f"db1: waiting for the host to {ends} ({SETTLED_WITHIN} s at most)",
        f"db1: waiting for the host to {undoes} ({25 + UNDO_WITHIN} s at most)",
    ]
    unknown = Host([Observed(guard_pending=True), REST])
    unknown.settle(to_apply=False)
    assert f"({GUARD_SECONDS + UNDO_WITHIN} s at most)" in unknown.notes[0]


def test_a_deploy_waits_for_a_long_step_and_says_which_and_how_far_it_is() -> None:
    def doing(progress: str, left: int) -> Observed:
        return Observed(ending=True, unfinished=Unfinished("run web: before prepare", left, progress))

    answers = [doing("", 3000), *(doing(f"{part} %", 3000 - part) for part in range(1, 1000)), REST]
    looks, applies = Host(answers), Host(answers)
    assert looks.settle(to_apply=False).ending
    assert looks.now <= SETTLED_WITHIN + 1
    assert applies.settle(to_apply=True) is REST
    waits = "db1: waiting for the host to finish an earlier run, which has come to: run web: before prepare"
    assert applies.notes[0] == f"{waits} ({3000 + UNDO_WITHIN} s at most)"
    assert applies.notes[1:4] == ["db1: 1 %", "db1: 6 %", "db1: 11 %"]


def test_a_deploy_does_not_wait_for_an_abandoned_unconfirmed_change() -> None:
    left = [Observed(guard_pending=True, guard_left=170)] * 2 + [REST]
    looks, applies = Host(left), Host(left)
    looks.settle(to_apply=False)
    applies.settle(to_apply=True)
    assert (looks.undone, applies.undone) == (0, 1)
    assert "db1: an earlier run ended before it confirmed its change, so the host undoes the change" in applies.notes[0]


def test_a_change_that_another_run_may_still_confirm_is_left_to_that_run() -> None:
    held = Host(
        [Observed(guard_pending=True, guard_left=9, lock="ann"), Observed(guard_pending=True, ending=True), REST]
    )
    held.settle(to_apply=True)
    assert held.undone == 0
    assert len(held.notes) == 2


def test_waiting_for_a_host_that_never_becomes_idle_ends() -> None:
    host = Host([Observed(guard_pending=True)])
    assert host.settle(to_apply=True).guard_pending
    assert host.now <= SETTLED_WITHIN + 1
