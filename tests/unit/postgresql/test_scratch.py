"""Scratch clusters as the operator's side sees them: the scripts for the backup host, and what they print."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import commands
import pytest

from plainstack.errors import PlainstackError
from plainstack.postgresql.restore import scratch
from plainstack.shipped import FILES

PRINTED = {
    "backup": "20261126T113939",
    "timeline": 3,
    "fork_lsn": "0/7051E40",
    "last_commit": "2026-11-26T11:40:45.839190+00:00",
    "reached": "target",
    "stopped": "before commit of transaction 745",
    "socket": "/var/lib/barman/_scratch/one/socket",
    "port": 5499,
    "tablespaces": {"fast": {"was": "/srv/fast", "is": "/var/lib/barman/_scratch/one/tablespaces/fast"}},
    "seconds": 1.9,
}


def test_the_program_understands_the_script() -> None:
    script = scratch.start_script("one", ("--backup=20261126T113939", "--before-xid=745", "--timeline=2", "--or-end"))
    words = shlex.split(script)
    assert words[:3] == ["/usr/bin/python3", "-I", "/usr/local/lib/plainstack/scratch"]
    found = commands.parser().parse_args(words[3:])
    assert (found.verb, found.name) == ("start", "one")
    assert commands.options_of(found) == {
        "backup": "20261126T113939",
        "target": ["xid", "745"],
        "timeline": 2,
        "serve": False,
        "dump": False,
        "or_end": True,
    }


def test_a_cluster_that_is_up_is_described_on_the_last_line() -> None:
    found = scratch.parse(f"restoring backup\nrecovering\n{json.dumps(PRINTED)}\n")
    assert (found.timeline, found.fork_lsn, found.reached) == (3, "0/7051E40", "target")
    assert found.last_commit == datetime(2026, 11, 26, 11, 40, 45, 839190, tzinfo=UTC)
    assert found.tablespaces["fast"] == ("/srv/fast", "/var/lib/barman/_scratch/one/tablespaces/fast")
    assert scratch.parse(json.dumps({**PRINTED, "last_commit": None})).last_commit is None


@pytest.mark.parametrize("text", ["", "restoring\n", "{}", "[]"])
def test_other_output_is_an_error(text: str) -> None:
    with pytest.raises(PlainstackError):
        scratch.parse(text)


def test_every_module_of_the_program_is_deployed() -> None:
    folder = FILES / "backup" / scratch.PROGRAM.lstrip("/")
    assert {Path(path).stem for path in folder.glob("*.py")} == set(scratch.MODULES)
