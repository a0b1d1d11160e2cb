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
from plainstack.postgresql.restore.scratch import Target
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


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (Target(at=datetime(2026, 11, 21, 14, 3, tzinfo=UTC)), ["time", "2026-11-21 14:03:00.000000+00"]),
        (Target(before_xid=745), ["xid", "745"]),
        (Target(lsn="0/7051E40"), ["lsn", "0/7051E40"]),
        (Target(), ["", ""]),
    ],
)
def test_the_program_understands_what_the_script_asks_for(target: Target, wanted: list[str]) -> None:
    script = scratch.start_script("one", "20261126T113939", target, timeline=2, or_end=True, serve=True)
    words = shlex.split(script)
    assert words[:3] == ["/usr/bin/python3", "-I", "/usr/local/lib/plainstack/scratch"]
    options = commands.options_of(commands.parser().parse_args(words[3:]))
    assert options == {
        "backup": "20261126T113939",
        "target": wanted,
        "timeline": 2,
        "serve": True,
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


def test_the_state_of_every_cluster() -> None:
    assert scratch.states('[{"name": "one", "state": "up"}, {"name": "two", "state": "left over"}]\n') == {
        "one": "up",
        "two": "left over",
    }


def test_every_module_of_the_program_is_deployed() -> None:
    folder = FILES / "backup" / scratch.PROGRAM.lstrip("/")
    assert {Path(path).stem for path in folder.glob("*.py")} == set(scratch.MODULES)
