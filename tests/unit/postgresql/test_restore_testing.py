"""`inv restore-test`: what it asks the backup host to do, and how it reports the result."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime

import commands
import pytest

from plainstack.errors import PlainstackError
from plainstack.postgresql.restore import testing

PRINTED = {
    "backup": "20261126T115436",
    "at": "2026-11-26T11:58:31+00:00",
    "passed": True,
    "seconds": 2.2,
    "rpo_seconds": 238.6,
    "problems": [],
    "notes": ["of large tables, only a sample of the blocks was compared: public.events"],
    "tables": 2,
    "rows": 21000,
}


def test_the_program_understands_the_script() -> None:
    words = shlex.split(testing.script(testing.options("20261126T115436", datetime(2026, 11, 21, 14, 3, tzinfo=UTC))))
    found = commands.parser().parse_args(words[3:])
    assert (found.verb, found.backup) == ("test", "20261126T115436")
    assert commands.options_of(found)["target"] == ["time", "2026-11-21 14:03:00.000000+00"]
    assert commands.options_of(commands.parser().parse_args(shlex.split(testing.script())[3:]))["target"] == ["", ""]


def test_a_passed_test_reports_both_times_and_what_was_compared() -> None:
    assert list(testing.parse(json.dumps(PRINTED)).sentences()) == [
        "backup 20261126T115436 can be restored",
        "time to restore: 2 s",
        "the newest recovered commit is 3 min old",
        "compared with what was recorded at the backup: 2 tables with 21000 rows",
    ]


def test_a_cluster_that_did_not_start_has_no_newest_commit() -> None:
    failed = {**PRINTED, "passed": False, "rpo_seconds": None, "problems": ["WAL file 0000000100000000 is missing"]}
    del failed["tables"]
    result = testing.parse(json.dumps(failed))
    assert list(result.sentences()) == ["backup 20261126T115436 FAILED the restore test", "time to restore: 2 s"]
    assert result.problems == ("WAL file 0000000100000000 is missing",)


@pytest.mark.parametrize("line", ["{}", "[]", "{"])
def test_other_output_is_an_error(line: str) -> None:
    with pytest.raises(PlainstackError):
        testing.parse(line)
