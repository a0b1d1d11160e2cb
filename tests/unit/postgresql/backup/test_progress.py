"""How far a backup is."""

from __future__ import annotations

import pytest

from plainstack.postgresql.backup.progress import Progress, parse

MIB = 2**20


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (Progress(), "preparing"),
        (Progress(id="1", status="EMPTY"), "preparing"),
        (
            Progress(id="1", status="STARTED", copied=300 * MIB, total=1200 * MIB),
            "copying: 300 MiB of about 1.2 GiB (25 %)",
        ),
        (Progress(id="1", status="STARTED", copied=13 * MIB, total=12 * MIB), "copying: 13 MiB of about 12 MiB (99 %)"),
        (Progress(id="1", status="STARTED", copied=5 * MIB), "copying: 5 MiB"),
        (
            Progress(id="1", status="WAITING_FOR_WALS", copied=5 * MIB),
            "5 MiB copied; waiting for the WAL that belongs to it",
        ),
        (Progress(id="1", status="DONE", copied=5 * MIB), "usable; removing what earlier failures left"),
    ],
)
def test_progress_is_a_sentence(now: Progress, sentence: str) -> None:
    assert now.sentence() == sentence


def test_a_log_gets_a_line_for_every_phase_and_every_tenth() -> None:
    copying = [Progress(id="1", status="STARTED", copied=n * MIB, total=100 * MIB) for n in range(1, 100)]
    steps = [
        Progress(),
        *copying,
        *(Progress(id="1", status="WAITING_FOR_WALS", copied=99 * MIB + n) for n in range(3)),
    ]
    assert len({now.milestone() for now in steps}) == 1 + 10 + 1


def test_only_a_unit_that_ended_well_has_succeeded() -> None:
    assert parse("state=activating\nresult=success\n", "", 0) == Progress()
    assert parse("state=failed\nresult=exit-code\nid=2\nstatus=FAILED\n", "1", 0) == Progress(
        True, False, "2", "FAILED"
    )
    # Its start waits for another unit, for example because the receiver is being restarted.
    assert not parse("state=inactive\nresult=success\njob=812\n", "1", 0).ended
    assert parse("state=inactive\nresult=success\njob=0\nid=2\nstatus=DONE\n", "1", 0).succeeded
