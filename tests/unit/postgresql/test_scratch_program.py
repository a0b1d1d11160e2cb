"""The program that restores on the backup host: which WAL it finds, where recovery ends, and what fits on the disk."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import base_backup
import commands
import disk
import fetch
import postmaster
import pytest
import recovery
from place import Cluster, Failed, Place
from wal_files import Wal, position

SIZE = 64


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a backup host with an empty archive of the server shop."""
    for folder in ("meta", "streaming", "wals/0000000100000000", "wals/0000000200000000"):
        (tmp_path / "barman/shop" / folder).mkdir(parents=True)
    names = ("scratch", "requests", "bin", "tls", "records", "tests")
    folders = {name: tmp_path / name for name in names}
    return Place("shop", barman=tmp_path / "barman", port=5499, database="shop", **folders)  # type: ignore[arg-type]  # paths


def _segment(place: Place, timeline: int, number: int, folder: str = "wals", suffix: str = "") -> Path:
    name = f"{timeline:08X}00000000{number:08X}{suffix}"
    path = place.archive / folder / (name[:16] if folder == "wals" else "") / name
    path.write_bytes(b"x" * SIZE)
    return path


def _backup(place: Place, identity: str, **more: str) -> None:
    known = {
        "status": "DONE",
        "timeline": "1",
        "begin_xlog": "0/80",
        "end_xlog": "0/C0",
        "end_time": "2026-11-26 11:39:42+00:00",
        "size": "1000",
        "parent_backup_id": "None",
        "tablespaces": "None",
        **more,
    }
    text = "".join(f"{key}={value}\n" for key, value in known.items())
    (place.archive / "meta" / f"{identity}-backup.info").write_text(text)


def test_the_newest_usable_backup_is_the_latest(place: Place) -> None:
    _backup(place, "20261124T000000")
    _backup(place, "20261125T000000", cluster_size="5000", tablespaces="[('fast', 16385, '/srv/fast')]")
    _backup(place, "20261126T000000", status="FAILED")
    found = base_backup.find(place, "latest")
    assert (found.id, found.size, found.tablespaces) == ("20261125T000000", 5000, {"fast": "/srv/fast"})


def test_a_backup_ends_where_its_manifest_says_not_at_the_end_of_the_segment(place: Place) -> None:
    _backup(place, "20261124T000000", end_xlog="0/100")
    assert base_backup.find(place, "latest").end == "0/100"
    folder = place.archive / "base/20261124T000000/data"
    folder.mkdir(parents=True)
    ranges = '"WAL-Ranges": [\n{ "Timeline": 1, "Start-LSN": "0/80", "End-LSN": "0/C8" }\n],'
    (folder / "backup_manifest").write_text("x" * 9000 + ranges + '\n"Manifest-Checksum": "0"}\n')
    assert base_backup.find(place, "latest").end == "0/C8"


def test_an_incremental_backup_needs_its_parents(place: Place) -> None:
    _backup(place, "20261124T000000")
    _backup(place, "20261125T000000", parent_backup_id="20261124T000000")
    assert base_backup.find(place, "latest").chain == ("20261125T000000", "20261124T000000")
    _backup(place, "20261126T000000", parent_backup_id="20261101T000000")
    with pytest.raises(Failed, match="parent 20261101T000000 is missing"):
        base_backup.find(place, "latest")


def test_an_unknown_backup_is_refused_with_the_ids_that_exist(place: Place) -> None:
    with pytest.raises(Failed, match="inv backup-now"):
        base_backup.find(place, "latest")
    _backup(place, "20261124T000000")
    with pytest.raises(Failed, match=r"20261101T000000: .* 20261124T000000"):
        base_backup.find(place, "20261101T000000")


def test_wal_is_found_compressed_and_in_the_segment_that_is_being_received(place: Place, tmp_path: Path) -> None:
    packed = _segment(place, 1, 2)
    packed.write_bytes(gzip.compress(b"compressed"))
    _segment(place, 1, 3, "streaming", ".partial").write_bytes(b"newest")
    target = tmp_path / "target"
    assert fetch.fetch(place.archive, SIZE, packed.name, target)
    assert target.read_bytes() == b"compressed"
    assert fetch.fetch(place.archive, SIZE, packed.name[:-1] + "3", target)
    assert target.read_bytes() == b"newest" + bytes(SIZE - 6)
    assert not fetch.fetch(place.archive, SIZE, packed.name[:-1] + "4", target)


def test_a_truncated_wal_file_is_named(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = _segment(place, 1, 2)
    packed.write_bytes(gzip.compress(b"compressed" * 100)[:-9])
    assert not fetch.fetch(place.archive, SIZE, packed.name, tmp_path / "target")
    assert f"{packed} is damaged" in capsys.readouterr().err


def test_an_empty_partial_segment_holds_nothing(place: Place, tmp_path: Path) -> None:
    _segment(place, 1, 2, "streaming", ".partial").write_bytes(b"")
    assert not fetch.fetch(place.archive, SIZE, "000000010000000000000002", tmp_path / "target")


@pytest.mark.programs
def test_a_full_disk_is_not_called_a_damaged_wal_file(place: Place) -> None:
    _segment(place, 1, 2).write_bytes(b"newest")
    words = [
        sys.executable,
        "-I",
        fetch.__file__,
        str(place.archive),
        str(SIZE),
        "000000010000000000000002",
        "/dev/full",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert recovery.NO_SPACE in done.stderr
    assert "damaged" not in done.stderr


def _after_a_promotion(place: Place) -> Wal:
    """Return WAL in which timeline 2 began in the middle of segment 4."""
    (place.archive / "wals/00000002.history").write_text("1\t0/120\tno recovery target specified\n")
    for timeline, number in ((1, 2), (1, 3), (1, 4), (2, 4), (2, 5)):
        _segment(place, timeline, number)
    _segment(place, 2, 6, "streaming", ".partial")
    return Wal.read(place.archive, SIZE)


def test_recovery_follows_the_latest_timeline_that_contains_the_backup(place: Place) -> None:
    wal = _after_a_promotion(place)
    assert wal.to_follow(1, position("0/C0"), 0) == 2
    assert wal.to_follow(1, position("0/C0"), 1) == 1
    # This backup was completed on timeline 1 after timeline 2 had left it.
    assert wal.to_follow(1, position("0/140"), 0) == 1
    with pytest.raises(Failed, match="timeline 2 does not contain this backup; these do: 1"):
        wal.to_follow(1, position("0/140"), 2)


def test_wal_that_ends_where_the_archive_does_is_complete(place: Place) -> None:
    wal = _after_a_promotion(place)
    assert wal.interrupted(2, 5 * SIZE + 63) == ""
    assert wal.interrupted(2, 6 * SIZE + 10) == ""


def test_a_missing_wal_file_is_named(place: Place) -> None:
    _after_a_promotion(place)
    (place.archive / "wals/0000000200000000/000000020000000000000004").unlink()
    wal = Wal.read(place.archive, SIZE)
    assert wal.interrupted(2, 3 * SIZE + 10).startswith("WAL file 000000020000000000000004 is missing")


def test_wal_is_missing_if_only_the_segment_that_is_being_received_follows(place: Place) -> None:
    _after_a_promotion(place)
    (place.archive / "wals/0000000200000000/000000020000000000000005").unlink()
    assert (
        Wal.read(place.archive, SIZE).interrupted(2, 4 * SIZE + 10).startswith("WAL file 000000020000000000000005 is")
    )


def test_a_damaged_wal_file_is_named(place: Place) -> None:
    wal = _after_a_promotion(place)
    assert wal.interrupted(2, 4 * SIZE + 40) == (
        "WAL file 000000020000000000000004, or the one after it, is damaged; 2 later WAL files were not applied."
    )


LOG = """\
2026-11-26 11:45:40.003 UTC LOG:  restored log file "000000010000000000000005" from archive
2026-11-26 11:45:40.103 UTC LOG:  restored log file "000000010000000000000006" from archive
2026-11-26 11:45:40.150 UTC LOG:  recovery stopping before commit of transaction 745, time 2026-11-26 11:41:00.1+00
2026-11-26 11:45:40.151 UTC LOG:  redo done at 0/60000D8 system usage: CPU: user: 0.01 s
2026-11-26 11:45:40.152 UTC LOG:  last completed transaction was at log time 2026-11-26 11:40:45.83919+00
2026-11-26 11:45:40.160 UTC LOG:  database system is ready to accept connections
"""


def test_the_log_says_how_far_recovery_was() -> None:
    found = recovery.read(LOG)
    assert (found.restored, found.last_file, found.redo_done) == (2, "000000010000000000000006", "0/60000D8")
    assert (found.up, found.last_commit) == (True, "2026-11-26T11:40:45.839190+00:00")
    assert found.stopped.startswith("before commit of transaction 745")


def test_a_target_after_the_last_commit_is_recognized() -> None:
    found = recovery.read(f"2026-11-26 11:45:40 UTC FATAL:  {recovery.ENDED_BEFORE}\n")
    assert found.ended_early
    assert not found.up


def test_a_tablespace_that_is_newer_than_the_backup_is_recognized() -> None:
    found = recovery.read('2026-11-26 12:09:26 UTC FATAL:  directory "/srv/fast" does not exist\n')
    assert (found.tablespace, found.lacks_wal) == ("/srv/fast", False)


@pytest.mark.parametrize(
    ("typed", "target"),
    [
        ("--at=2026-11-21T15:03:00+01:00", ["time", "2026-11-21 14:03:00.000000+00"]),
        ("--at=2026-11-21 14:03:00+00", ["time", "2026-11-21 14:03:00.000000+00"]),
        ("--before-xid=745", ["xid", "745"]),
        ("--end", ["", ""]),
    ],
)
def test_the_target_of_a_recovery(typed: str, target: list[str]) -> None:
    assert commands.options_of(commands.parser().parse_args(["start", "one", typed]))["target"] == target


def test_a_time_without_a_time_zone_is_refused() -> None:
    with pytest.raises(Failed, match="--at=2026-11-21T14:03:00: not a time with a time zone"):
        commands.options_of(commands.parser().parse_args(["start", "one", "--at=2026-11-21T14:03:00"]))


def test_recovery_ends_before_a_transaction_and_after_a_moment() -> None:
    assert recovery.Target("xid", "745").settings(2) == {
        "recovery_target_timeline": "2",
        "recovery_target_xid": "745",
        "recovery_target_inclusive": "off",
        "recovery_target_action": "promote",
    }
    assert recovery.Target("time", "2026-11-21 14:03:00+00").settings(2)["recovery_target_inclusive"] == "on"
    assert recovery.Target().settings(3) == {"recovery_target_timeline": "3"}


def test_a_disk_that_is_too_small_is_reported_before_anything_is_restored(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"too small: \d+ MB are needed, \d+ MB are free. Free some"):
        disk.room(tmp_path, 10**18)
    disk.room(tmp_path, 0)


@pytest.fixture
def cluster(place: Place) -> Cluster:
    found = place.cluster("one")
    found.data.mkdir(parents=True)
    return found


def test_nothing_restored_connects_the_cluster_to_the_living_one(cluster: Cluster) -> None:
    automatic = cluster.data / "postgresql.auto.conf"
    automatic.write_text("work_mem = '8MB'\nrestore_command = 'x'\nprimary_conninfo = 'x'\nrecovery_target_xid = '1'\n")
    (cluster.data / "standby.signal").touch()
    postmaster.configure(cluster, serve=False)
    assert automatic.read_text() == "work_mem = '8MB'\n"
    assert not (cluster.data / "standby.signal").exists()
    wanted = postmaster.settings(cluster, {}, serve=False)
    assert (wanted["listen_addresses"], wanted["primary_conninfo"], wanted["synchronous_standby_names"]) == ("", "", "")
    assert "hostssl" not in (cluster.config / "pg_hba.conf").read_text()


def test_limits_are_at_least_those_of_the_primary(cluster: Cluster) -> None:
    wanted = postmaster.settings(cluster, {"max_connections setting": "400"}, serve=False)
    assert (wanted["max_connections"], wanted["max_wal_senders"]) == ("400", "10")


def test_only_the_database_hosts_can_copy_a_served_cluster_with_their_certificates(cluster: Cluster) -> None:
    cluster.place.readers["db1"] = "10.0.0.1"
    postmaster.configure(cluster, serve=True)
    over_the_network = [
        line for line in (cluster.config / "pg_hba.conf").read_text().splitlines() if "local" not in line
    ]
    assert over_the_network == ["hostssl replication replicator 10.0.0.1/32 cert map=readers"]
    assert "readers db1 replicator" in (cluster.config / "pg_ident.conf").read_text()


@pytest.mark.parametrize("name", ["", "../x", "One", "a" * 40, "-x"])
def test_a_name_that_is_no_path_and_no_unit_is_refused(place: Place, name: str) -> None:
    with pytest.raises(Failed, match="not a name"):
        place.cluster(name)


def test_the_program_reads_what_the_role_wrote(tmp_path: Path) -> None:
    known = {
        "server": "shop",
        "barman": "/b",
        "scratch": "/s",
        "requests": "/r",
        "bin": "/x",
        "tls": "/t",
        "port": 5499,
        "database": "shop",
        "records": "/e",
        "tests": "/o",
    }
    (tmp_path / "scratch.json").write_text(json.dumps({**known, "readers": {"db1": "10.0.0.1"}}))
    found = Place.read(tmp_path / "scratch.json")
    assert (found.archive, found.readers) == (Path("/b/shop"), {"db1": "10.0.0.1"})
