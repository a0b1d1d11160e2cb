"""receiver-ended and mend-wal, which run after and before Barman's receiver."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plainstack.shipped import FILES

LIBRARY = FILES / "backup" / "usr/local/lib/plainstack"


_LOST = (
    "2026-11-22 01:00:00,1 [9] barman INFO: shop: pg_receivewal: error: unexpected termination of replication stream:"
    " ERROR:  requested WAL segment 000000010000000000000007 has already been removed\n"
)
_FORKED = "ERROR:  requested starting point 0/8000000 on timeline 1 is not in this server's history"
_UNKNOWN = "ERROR:  requested timeline 3 is not in this server's history"


def _receiver_ended(folder: Path, log: str, before: int = 0) -> Path:
    """Run the script after a receiver that logged something; return the file that says that WAL is missing."""
    (folder / "log-size").write_text(f"{before}\n")
    (folder / "barman.log").write_text(log)
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(folder)}
    words = ["sh", str(LIBRARY / "receiver-ended"), str(folder), str(folder / "barman.log")]
    subprocess.run(words, check=True, env=environment)
    return folder / "wal-missing"


@pytest.fixture
def receiving(folder: Path) -> Path:
    names = ("wals/0000000100000000/000000010000000000000006", "streaming/7.partial", "streaming/8.partial")
    for seconds, name in zip((100, 200, 300), names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
        # The last one did not get its length on a full disk.
        os.truncate(folder / name, 3 * 2**20 if seconds == 300 else 2**24)
        os.utime(folder / name, (seconds, seconds))
    return folder


@pytest.mark.programs
@pytest.mark.parametrize("words", ["ERROR: can no longer access replication slot", _LOST, _FORKED, _UNKNOWN])
def test_wal_is_missing_since_the_last_that_arrived_if_the_primary_has_removed_what_follows(
    receiving: Path, words: str
) -> None:
    missing = _receiver_ended(receiving, f"other\n{words}\nother\n")
    assert missing.read_text().splitlines()[0].startswith("200.0")
    assert words.strip() in missing.read_text()


@pytest.mark.programs
def test_a_receiver_that_ended_for_another_reason_misses_no_wal(receiving: Path) -> None:
    assert not _receiver_ended(receiving, "ERROR: connection refused\n").exists()
    assert not _receiver_ended(receiving, f"{_LOST}ERROR: connection refused\n", before=len(_LOST)).exists()
    assert _receiver_ended(receiving, _LOST, before=10**6).exists(), "the log was rotated"


@pytest.mark.programs
def test_wal_that_is_missing_again_keeps_its_first_time_and_is_mended_again(receiving: Path) -> None:
    (receiving / "wal-missing").write_text("100\nwhy\n")
    (receiving / "wal-mended").touch()
    assert _receiver_ended(receiving, _LOST).read_text() == "100\nwhy\n"
    assert not (receiving / "wal-mended").exists()


def _mend(folder: Path, invalid: str = "") -> list[str]:
    """Run the script while the primary answers a question about the slot with `invalid`; return what Barman did."""
    (folder.parent / "psql").write_text(f"""#!/bin/sh
case $* in
*replication=true) shift; echo "$*" >>"$LOG" ;;
*) echo {invalid} ;;
esac
""")
    words = ["sh", str(LIBRARY / "mend-wal"), "shop", str(folder), "host=db1 user=barman", "barman"]
    subprocess.run(words, check=True, capture_output=True)
    log = folder.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


NEW_SLOT = [
    "-q receive-wal --stop shop",
    "-c DROP_REPLICATION_SLOT barman -c CREATE_REPLICATION_SLOT barman PHYSICAL"
    " host=db1 user=streaming_barman replication=true",
]


@pytest.mark.programs
def test_missing_wal_is_mended_once_with_a_new_slot_and_what_was_received_is_kept(receiving: Path) -> None:
    assert _mend(receiving) == []
    (receiving / "wal-missing").write_text("100.5\nwhy\n")
    wanted = [*NEW_SLOT, "-q receive-wal --reset shop", "-q archive-wal shop"]
    assert _mend(receiving) == wanted
    assert not (receiving / "streaming/7.partial").exists()
    assert (receiving / "streaming/7").exists()
    assert not (receiving / "streaming/8").exists()
    assert _mend(receiving) == wanted


@pytest.mark.programs
def test_an_invalidated_slot_is_replaced_and_barman_goes_on_where_it_was(receiving: Path) -> None:
    assert _mend(receiving, invalid="1") == NEW_SLOT
    assert sorted(path.name for path in (receiving / "streaming").iterdir()) == ["7.partial", "8.partial"]
    assert not (receiving / "wal-mended").exists()
