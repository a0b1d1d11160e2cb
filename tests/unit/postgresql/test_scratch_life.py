"""A scratch cluster and a restore test from beginning to end, with a PostgreSQL whose log is written beforehand."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import base_backup
import compared
import damage
import life
import postmaster
import pytest
import recovery
import service
from base_backup import BaseBackup
from life import Life, Wanted
from place import Cluster, Failed, NoRoom, Place, read_json, write_json
from recovery import Logged, Target
from trial import Lend, Trial

UP = "LOG:  redo done at 0/120 system usage\nLOG:  database system is ready to accept connections\n"
STOPPED = "LOG:  recovery stopping before commit of transaction 745, time x\n"
PAUSED = "LOG:  recovery stopping before WAL location\nLOG:  pausing at the end of recovery\n"
ENDED = f"LOG:  redo done at 0/120 system usage\nFATAL:  {recovery.ENDED_BEFORE}\n"
BACKUP = BaseBackup("20261126T115436", 1, "0/80", "0/C0", "2026-11-26T11:54:36+00:00", 1000, ("x",), {}, 64)


class Server:
    """A PostgreSQL that ends at once, with the next one of these logs; `started` has the settings of each start."""

    logs: Iterator[str]
    started: list[Mapping[str, str]]

    def __init__(self, _cluster: Cluster, wanted: Mapping[str, str]) -> None:
        Server.started.append(wanted)
        self.log = recovery.read(next(Server.logs))

    def await_ready(self) -> Iterator[Logged]:
        yield from ()

    def stop(self) -> None:
        pass


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a backup host on which restoring a backup makes a data directory that ends on timeline 2."""
    folders: Any = {
        name: tmp_path / name for name in ("barman", "scratch", "requests", "bin", "tls", "records", "tests")
    }
    for folder in ("records", "tests", "scratch", "barman/shop"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(base_backup, "find", lambda *_: BACKUP)
    monkeypatch.setattr(life, "room", lambda *_: None)
    monkeypatch.setattr(life, "Postmaster", Server)
    monkeypatch.setattr(postmaster, "control_data", lambda _: {})
    monkeypatch.setattr(postmaster, "query", lambda _, text, *__: "00000002" if "walfile" in text else "")

    def restored(self: Life, _backup: BaseBackup) -> None:
        (self.cluster.data / "pg_wal").mkdir(parents=True)
        (self.cluster.data / "pg_wal/00000002.history").write_text("1\t0/128\tno recovery target specified\n")

    monkeypatch.setattr(Life, "_barman", restored)
    Server.started = []
    return Place("shop", port=5499, database="shop", **folders)


@pytest.fixture
def recovered(place: Place) -> Callable[..., dict[str, Any]]:
    """Restore a backup and recover it to a target, with a server that writes these logs."""

    def recover(target: Target, *logs: str, or_end: bool = False) -> dict[str, Any]:
        Server.logs = iter(logs)
        one = Life(place.cluster("one"), Wanted(or_end=or_end), lambda _: None)
        one.restore()
        return one.recover(target)

    return recover


def test_a_cluster_that_reached_its_target_is_described(recovered: Callable[..., dict[str, Any]]) -> None:
    found = recovered(Target("xid", "745"), STOPPED + UP)
    assert (found["timeline"], found["fork_lsn"], found["reached"]) == (2, "0/128", "target")
    assert Server.started[0]["recovery_target_xid"] == "745"
    assert Server.started[0]["hot_standby"] == "off"


def test_without_a_target_the_end_of_the_wal_is_reached(recovered: Callable[..., dict[str, Any]]) -> None:
    assert recovered(Target(), UP)["reached"] == "end of WAL"


def test_a_target_after_the_last_commit_fails_with_a_sentence_and_its_remedy(
    recovered: Callable[..., dict[str, Any]],
) -> None:
    with pytest.raises(Failed, match=r"the WAL ends before --at=soon is reached. With --or-end"):
        recovered(Target("time", "soon"), ENDED)


def test_if_asked_recovery_then_ends_at_the_end_of_the_wal(recovered: Callable[..., dict[str, Any]]) -> None:
    assert recovered(Target("time", "soon"), ENDED, UP, or_end=True)["reached"] == "end of WAL"
    assert "recovery_target_time" not in Server.started[1]


def test_a_moment_at_which_to_compare_is_never_replaced_by_the_end_of_the_wal(
    recovered: Callable[..., dict[str, Any]],
) -> None:
    with pytest.raises(Failed, match=r"the WAL ends before --lsn=0/200 is reached$"):
        recovered(Target("lsn", "0/200", pause=True), ENDED, or_end=True)


def test_the_end_of_the_wal_is_no_success_if_more_wal_was_archived(
    place: Place, recovered: Callable[..., dict[str, Any]]
) -> None:
    folder = place.archive / "wals/0000000100000000"
    folder.mkdir(parents=True)
    for number in (4, 6):
        (folder / f"0000000100000000{number:08X}").write_text("x")
    with pytest.raises(Failed, match="WAL file 000000010000000000000005 is missing"):
        recovered(Target(), UP)


def test_a_server_that_does_not_start_says_why(recovered: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(Failed, match="does not start: could not open file"):
        recovered(Target(), "FATAL:  could not open file\n")


@pytest.mark.parametrize("way", ['FATAL:  could not extend file "base/1/2": {}\n', "LOG:  WAL file x: {}\n" + UP])
def test_a_disk_that_becomes_full_during_recovery_is_named_with_what_is_missing(
    place: Place, recovered: Callable[..., dict[str, Any]], way: str
) -> None:
    folder = place.archive / "wals/0000000100000000"
    folder.mkdir(parents=True)
    for number in (4, 5, 6):
        (folder / f"0000000100000000{number:08X}").write_text("x")
    replayed = 'LOG:  restored log file "000000010000000000000004" from archive\n'
    with pytest.raises(Failed, match=r"the disk of \S+/one became full: .* 2 WAL files were not replayed yet"):
        recovered(Target(), replayed + way.format(recovery.NO_SPACE))


def test_the_unit_survives_a_full_disk_says_so_and_deletes_what_it_restored(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = place.cluster("one")
    place.requests.mkdir()
    options = {"backup": "latest", "target": ["", ""], "timeline": 0, "serve": False, "dump": False, "or_end": False}
    write_json(cluster.request, {"id": "1", "wanted": options})
    full = OSError(errno.ENOSPC, recovery.NO_SPACE)

    def no_room(state: service.State) -> None:
        if state._known["progress"] and "problem" not in state._known:
            raise full
        write(state)

    write = service.State._write
    monkeypatch.setattr(service.State, "_write", no_room)
    monkeypatch.setattr(Life, "_barman", lambda *_: (_ for _ in ()).throw(full))
    assert service.run(place, "one") == 1
    assert "/one became full" in read_json(cluster.state)["problem"]
    assert [path.name for path in cluster.folder.iterdir()] == ["state.json"]


@pytest.fixture
def tried(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a restore test in which this is found, with a server that writes these logs."""

    def run(
        *logs: str,
        files: tuple[str, ...] = (),
        tables: tuple[str, ...] = (),
        rows: str = "",
        lend: Lend | None = None,
    ) -> dict[str, Any]:
        damaged = [damage.Damaged(file, "checksum mismatch") for file in files]
        monkeypatch.setattr(damage, "of_backup", lambda *_: damaged)
        monkeypatch.setattr(damage, "of_pages", lambda *_: [])
        monkeypatch.setattr(damage, "of_tables", lambda *_: list(tables))
        differs = compared.Comparison([rows] if rows else [], [], 3, 70)
        monkeypatch.setattr(compared, "compare", lambda *_: differs)
        Server.logs = iter(logs)
        return Trial(place, Wanted(), lambda _: None, lend=lend).run()

    return run


RECORD = {"lsn": "0/110", "timeline": "00000001", "at": "2026-11-26T11:54:37+00:00", "snapshot": "7:7:", "tables": {}}


@pytest.fixture
def recorded(place: Place) -> None:
    write_json(place.records / f"{BACKUP.id}.json", RECORD)


@pytest.mark.usefixtures("recorded")
def test_a_passed_test_is_kept_and_its_cluster_is_not(place: Place, tried: Callable[..., dict[str, Any]]) -> None:
    result = tried(PAUSED, UP)
    assert (result["passed"], result["tables"], result["rows"], result["notes"]) == (True, 3, 70, [])
    assert result["rpo_seconds"] > 0
    assert read_json(place.tests / f"{BACKUP.id}.json") == json.loads(json.dumps(result))
    assert not place.cluster("restore-test").folder.exists()
    # First as far as the record, open for queries; then as far as there is WAL.
    assert [start.get("recovery_target_lsn") for start in Server.started] == ["0/110", None]
    assert [start["hot_standby"] for start in Server.started] == ["on", "off"]


@pytest.mark.usefixtures("recorded")
def test_every_kind_of_damage_fails_the_test(tried: Callable[..., dict[str, Any]]) -> None:
    result = tried(PAUSED, UP, files=("base/5/7",), tables=("heap table x is damaged",), rows="table y has 1 rows")
    assert not result["passed"]
    assert result["problems"] == ["table y has 1 rows", "file base/5/7: checksum mismatch", "heap table x is damaged"]


@pytest.mark.usefixtures("recorded")
def test_a_cluster_that_does_not_start_fails_the_test_and_damaged_files_are_still_named(
    place: Place, tried: Callable[..., dict[str, Any]]
) -> None:
    result = tried("FATAL:  invalid page\n", files=("global/pg_control",))
    assert result["problems"] == [
        "file global/pg_control: checksum mismatch",
        "the restored cluster does not start: invalid page",
    ]
    assert result["rpo_seconds"] is None
    assert not place.cluster("restore-test").folder.exists()


@pytest.mark.usefixtures("recorded")
def test_a_lent_cluster_is_checked_first_and_its_result_is_left_to_the_other_host(
    place: Place, tried: Callable[..., dict[str, Any]]
) -> None:
    lent: list[dict[str, Any]] = []
    result = tried(PAUSED, UP, tables=("not looked at here",), lend=lambda _, known: lent.append(known))
    assert (result["lent"], result["passed"], lent) == (True, True, [result])
    assert Server.started[-1]["listen_addresses"] == "*"
    assert list(place.tests.iterdir()) == []
    assert not place.cluster("restore-test").folder.exists()


@pytest.mark.usefixtures("recorded")
def test_a_damaged_cluster_is_not_lent(place: Place, tried: Callable[..., dict[str, Any]]) -> None:
    result = tried(PAUSED, UP, rows="table y has 1 rows", lend=lambda *_: pytest.fail("it was lent"))
    assert (result["lent"], result["problems"]) == (False, ["table y has 1 rows"])
    assert not read_json(place.tests / f"{BACKUP.id}.json")["passed"]


def test_a_backup_without_a_record_passes_with_a_note(tried: Callable[..., dict[str, Any]]) -> None:
    result = tried(PAUSED, UP)
    assert result["passed"]
    assert result["notes"] == ["marker and tables were not compared: nothing was recorded about this backup"]
    assert Server.started[0]["recovery_target"] == "immediate"


def test_a_record_on_a_timeline_that_was_left_before_is_not_compared(
    place: Place, tried: Callable[..., dict[str, Any]]
) -> None:
    (place.archive / "wals").mkdir()
    (place.archive / "wals/00000002.history").write_text("1\t0/100\tno recovery target specified\n")
    write_json(place.records / f"{BACKUP.id}.json", RECORD)
    result = tried(PAUSED, UP)
    assert "recorded on timeline 1, after timeline 2 had branched off" in result["notes"][0]


def test_a_newer_timeline_without_the_backup_is_mentioned(place: Place, tried: Callable[..., dict[str, Any]]) -> None:
    (place.archive / "wals").mkdir()
    (place.archive / "wals/00000002.history").write_text("1\t0/90\tno recovery target specified\n")
    assert "timeline 2 does not contain this backup" in tried(PAUSED, UP)["notes"][-1]


def test_a_test_without_any_backup_says_so(
    place: Place, tried: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> BaseBackup:
        raise Failed("there is no usable backup; take one: inv backup-now")

    monkeypatch.setattr(base_backup, "find", none)
    with pytest.raises(Failed, match="no usable backup"):
        tried()
    assert list(place.tests.iterdir()) == []


@pytest.mark.usefixtures("recorded")
def test_a_test_without_room_is_refused_and_says_nothing_about_the_backup(
    place: Place, tried: Callable[..., dict[str, Any]]
) -> None:
    full = f'FATAL:  could not extend file "base/1/2": {recovery.NO_SPACE}\n'
    assert tried(PAUSED, UP)["passed"]
    with pytest.raises(NoRoom, match="became full"):
        tried(PAUSED, full)
    assert read_json(place.tests / f"{BACKUP.id}.json")["passed"]
    assert "became full" in read_json(place.refused)["why"]
    assert not place.cluster("restore-test").folder.exists()
    # Damage that was found before that is damage.
    assert not tried(full, files=("base/1/2",))["passed"]
    assert not place.refused.exists()
