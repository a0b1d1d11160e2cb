"""backup-metrics on the backup host: what Prometheus gets."""

from __future__ import annotations

import json
import os
import subprocess
import time
from math import isnan
from pathlib import Path

import pytest

from plainstack.shipped import FILES

LIBRARY = FILES / "backup" / "usr/local/lib/plainstack"


INFO = """\
begin_time=2026-11-22 01:07:27+00:00
begin_wal=000000010000000000000003
end_time=2026-11-22 01:07:28+00:00
parent_backup_id=None
size=32160780
status=DONE
xlog_segment_size=16777216
"""
CHECKED = '{"shop": {"a": {"status": "OK", "hint": ""}}}'


def _metrics(folder: Path, check: str = CHECKED, streams: str = "1 4096 0.25", ahead: float = 0) -> dict[str, float]:
    (folder / "check.json").write_text(check)
    answer = f"{streams} {{time.time() - AHEAD}}" if streams else ""
    (folder.parent / "psql").write_text(
        f"#!/usr/bin/python3\nimport time\nprint(f'{answer}')\n".replace("AHEAD", str(ahead))
    )
    words = ["python3", str(LIBRARY / "backup-metrics"), "shop", str(folder), "host=db1", str(folder / "tests")]
    subprocess.run([*words, str(folder.parent / "out.prom")], check=True)
    lines = [line for line in (folder.parent / "out.prom").read_text().splitlines() if not line.startswith("#")]
    values = (line.replace('{server="shop"}', "").replace('server="shop",', "").rsplit(" ", 1) for line in lines)
    return {name: float(value) for name, value in values}


def _received(folder: Path, *names: str) -> None:
    """Let the folder hold these files; each was received a second after the previous one."""
    for seconds, name in enumerate(names, 999_950):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
        # The receiver makes a file of the whole length before it writes into it.
        os.truncate(folder / name, 2**24)
        os.utime(folder / name, (seconds, seconds))


@pytest.mark.programs
def test_prometheus_gets_age_size_health_and_last_wal(folder: Path) -> None:
    (folder / "meta" / "20261122T010727-backup.info").write_text(INFO)
    incremental = INFO.replace("=None", "=20261122T010727").replace("07:28", "08:28").replace("32160780", "99")
    (folder / "meta" / "20261122T010827-backup.info").write_text(incremental)
    (folder / "meta" / "20261123T010727-backup.info").write_text(INFO.replace("DONE", "FAILED"))
    archived = [f"wals/0000000100000000/00000001000000000000000{n}" for n in (3, 4)]
    _received(folder, *archived, "streaming/000000010000000000000005.partial")
    found = _metrics(folder)
    # There was no restore test; one could have been made since the oldest backup.
    assert isnan(found.pop("plainstack_restore_test_ok"))
    assert found == {
        "plainstack_restore_test_timestamp_seconds": 1795309648,
        "plainstack_barman_check_ok": 1,
        "plainstack_barman_streaming": 1,
        "plainstack_backup_clock_skew_seconds": 0,
        "plainstack_barman_wal_lag_bytes": 4096,
        "plainstack_barman_wal_lag_seconds": 0.25,
        "plainstack_backup_last_success_timestamp_seconds": 1795309708,
        "plainstack_backup_last_full_timestamp_seconds": 1795309648,
        "plainstack_backup_size_bytes": 99,
        "plainstack_barman_last_wal_timestamp_seconds": 999_952,
        "plainstack_backup_wal_gaps": 0,
        "plainstack_backup_wal_missing_timestamp_seconds": 0,
        "plainstack_restore_test_refused": 0,
    }


@pytest.mark.programs
def test_a_gap_since_the_newest_backup_and_missing_wal_are_reported(folder: Path) -> None:
    (folder / "meta" / "20261122T010727-backup.info").write_text(INFO)
    _received(folder, *(f"wals/0000000100000000/00000001000000000000000{n}" for n in (1, 3, 4, 6, 7)))
    (folder / "wal-missing").write_text("999951.5\nwhy\n")
    found = _metrics(folder)
    assert found["plainstack_backup_wal_gaps"] == 1
    assert found["plainstack_backup_wal_missing_timestamp_seconds"] == 999_951.5


@pytest.mark.programs
@pytest.mark.parametrize("ahead", [-3600, -7, 7, 3600])
def test_a_clock_that_differs_from_the_primarys_is_reported(folder: Path, ahead: int) -> None:
    began = time.monotonic()
    found = _metrics(folder, ahead=ahead)["plainstack_backup_clock_skew_seconds"]
    # The answer is on its way for a part of the time that the program takes.
    assert found == pytest.approx(ahead, abs=time.monotonic() - began)


@pytest.mark.programs
@pytest.mark.parametrize("answer", ["0 0 0", ""])
def test_a_receiver_that_does_not_stream_is_reported(folder: Path, answer: str) -> None:
    found = _metrics(folder, streams=answer)
    assert found["plainstack_barman_streaming"] == 0
    assert "plainstack_barman_wal_lag_bytes" not in found


@pytest.mark.programs
def test_the_last_restore_test_is_reported(folder: Path) -> None:
    (folder / "tests").mkdir()
    for name, at, passed in (("a", "2026-11-22T03:00:00Z", False), ("b", "2026-11-21T03:00:00Z", True)):
        result = {"backup": name, "at": at, "passed": passed, "seconds": 12.5, "rpo_seconds": None, "problems": []}
        (folder / "tests" / f"{name}.json").write_text(json.dumps(result))
    found = _metrics(folder)
    assert {name: value for name, value in found.items() if "restore_test" in name} == {
        "plainstack_restore_test_timestamp_seconds": 1795316400,
        "plainstack_restore_test_ok": 0,
        "plainstack_restore_test_refused": 0,
        "plainstack_restore_test_seconds": 12.5,
    }
    (folder / "tests/refused").mkdir()
    (folder / "tests/refused/last.json").write_text('{"at": "2026-11-23T03:00:00Z", "backup": "a", "why": "full"}')
    # What earlier tests have shown remains true.
    assert (found | {"plainstack_restore_test_refused": 1}).items() >= {
        name: value for name, value in _metrics(folder).items() if "restore_test" in name
    }.items()


@pytest.mark.programs
def test_the_last_restore_test_from_the_second_copy_is_reported_unless_it_is_older_than_the_copy(folder: Path) -> None:
    def found() -> dict[str, float]:
        names = (name for name in _metrics(folder).items() if "second_copy" in name[0])
        return {name.removeprefix("plainstack_second_copy_restore_test_"): value for name, value in names}

    assert found() == {}
    (folder / "second-copy.json").write_text('{"first": 1795300000.0}')
    (folder / "tests" / "from-copy").mkdir(parents=True)
    before = found()
    assert isnan(before.pop("ok"))
    assert before == {"timestamp_seconds": 1795300000, "refused": 0}
    result = {"backup": "b", "at": "2026-11-22T03:00:00Z", "passed": False, "seconds": 1, "problems": ["x"]}
    (folder / "tests" / "from-copy" / "b.json").write_text(json.dumps(result))
    assert found() == {"timestamp_seconds": 1795316400, "ok": 0, "refused": 0}
    (folder / "second-copy.json").write_text('{"first": 1795316401.0}')
    assert isnan(found()["ok"])


@pytest.mark.programs
@pytest.mark.parametrize("check", ['{"shop": {"a": {"status": "FAILED", "hint": "x"}}}', "", "{}", '{"_ERROR": ["x"]}'])
def test_a_failed_or_silent_check_is_not_ok_and_the_other_metrics_are_still_reported(folder: Path, check: str) -> None:
    (folder / "meta" / "20261122T010727-backup.info").write_text(INFO)
    found = _metrics(folder, check)
    assert found["plainstack_barman_check_ok"] == 0
    assert found.get('plainstack_barman_check_failed{check="a"}', 0) == ("FAILED" in check)
    assert found["plainstack_backup_size_bytes"] == 32160780


@pytest.mark.programs
def test_without_any_backup_the_time_of_the_last_success_is_missing(folder: Path) -> None:
    assert not any("plainstack_backup_last" in name for name in _metrics(folder, ""))
