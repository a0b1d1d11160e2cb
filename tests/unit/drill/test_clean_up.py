"""A drill removes its rows, also if the service still stores some while that happens.

The session stands in for one to the primary: psql's answers are those of a foreign key that is violated.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from plainstack.drill import database
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.ssh.session import Output, Session

VIOLATED = Output(3, "", 'ERROR:  update or delete on table "incidents_machine" violates foreign key constraint "fk"\n')
DONE = Output(0, "", "")


class Primary:
    """Answers psql with the given outputs, of which the last one repeats."""

    host = "db1"

    def __init__(self, *answers: Output) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []

    def run(self, _script: str, stdin: bytes, **_: Any) -> Output:
        self.asked.append(stdin)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_rows_are_removed_although_a_late_one_refers_to_them_at_first(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PAUSE", 0)
    primary = Primary(VIOLATED, VIOLATED, DONE)
    database.clean_up(stack, cast(Session, primary), "20261127T135952")
    assert len(primary.asked) == 3
    assert len(set(primary.asked)) == 1
    assert b"delete from incidents_machine" in primary.asked[0]


def test_a_removal_that_keeps_failing_is_reported_with_the_servers_words(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SETTLED_WITHIN", 0)
    with pytest.raises(HostFailed, match="violates foreign key") as failed:
        database.clean_up(stack, cast(Session, Primary(VIOLATED)), "20261127T135952")
    assert failed.value.host == "db1"
