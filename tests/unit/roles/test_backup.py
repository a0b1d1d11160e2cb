"""Role backup: Barman's configuration and schedule, and the host's two scripts with a fake Barman."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
from math import isnan
from pathlib import Path

import pytest

from plainstack.engine.resources import Absent, Command, File, Resource, Unit, Validation
from plainstack.inventory.stack import Stack
from plainstack.roles import backup
from plainstack.secrets.values import Secret, Vault
from plainstack.shipped import FILES
from tests import inventories

TEXT = """
stack: shop
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  db2: {address: 10.0.0.2, roles: [db]}
  bak1: {address: 10.0.0.3, roles: [backup]}
database: {name: shop}
backup: {retention: REDUNDANCY 3, full: "Sun 04:30", incremental: "Mon,Thu 04:30"}
"""
LIBRARY = FILES / "backup" / "usr/local/lib/plainstack"


@pytest.fixture
def stack() -> Stack:
    return inventories.parse(TEXT, "test.yaml", Path())


@pytest.fixture
def resources(stack: Stack) -> list[Resource]:
    passwords = {name: Secret(name, f"pw-of-{name}") for name in ("postgres/barman", "postgres/streaming_barman")}
    return list(inventories.wanted(backup.ROLE, stack, "bak1", Vault(passwords, {}, "authority")))


def _file(resources: list[Resource], path: str) -> File:
    (found,) = [item for item in resources if isinstance(item, File) and item.path == path]
    return found


def _barman(resources: list[Resource]) -> dict[str, str]:
    parser = configparser.RawConfigParser(delimiters=("=",))
    parser.read_string(_file(resources, "/etc/barman.d/main.conf").content.decode())
    return dict(parser["shop"])


def test_barman_streams_from_whichever_host_is_primary(resources: list[Resource]) -> None:
    settings = _barman(resources)
    for key, user in (("conninfo", "barman"), ("streaming_conninfo", "streaming_barman")):
        words = set(settings[key].split())
        assert {"host=db1,db2", "target_session_attrs=read-write", "sslmode=verify-full", f"user={user}"} <= words
    # Role db uses the same name for the replication slot.
    assert (settings["slot_name"], settings["streaming_archiver"]) == ("barman", "on")


def test_the_stream_notices_a_dead_primary(resources: list[Resource]) -> None:
    assert "tcp_user_timeout=8000" in _barman(resources)["streaming_conninfo"]


def test_retention_and_maximum_age_come_from_the_inventory(resources: list[Resource]) -> None:
    settings = _barman(resources)
    assert settings["retention_policy"] == "REDUNDANCY 3"
    # From Thursday to Sunday, and two hours more.
    assert settings["last_backup_maximum_age"] == "74 HOURS"


def test_passwords_are_in_one_file_that_only_barman_can_read(resources: list[Resource]) -> None:
    pgpass = _file(resources, "/var/lib/barman/.pgpass")
    assert (pgpass.mode, pgpass.owner, pgpass.secret) == (0o600, "barman", True)
    assert b"*:5432:*:barman:pw-of-postgres/barman\n" in pgpass.content
    assert b"*:5432:*:streaming_barman:pw-of-postgres/streaming_barman\n" in pgpass.content
    holding = [item.path for item in resources if isinstance(item, File) and b"pw-of-" in item.content]
    assert holding == [pgpass.path]


def test_backups_follow_the_schedule_and_an_invalid_schedule_is_refused_before_anything_changes(
    resources: list[Resource],
) -> None:
    for kind, calendar in (("full", "Sun 04:30"), ("incremental", "Mon,Thu 04:30")):
        timer = _file(resources, f"/etc/systemd/system/plainstack-backup-{kind}.timer").content.decode()
        assert f"\nOnCalendar={calendar}\n" in timer
        assert "\nPersistent=yes\n" in timer
        assert [item.run for item in resources if isinstance(item, Validation) and item.name == f"backup.{kind}"] == [
            f"systemd-analyze calendar {calendar!r}"
        ]


def test_incremental_backups_are_optional_but_can_be_taken_on_request() -> None:
    stack = inventories.parse(TEXT.replace('"Mon,Thu 04:30"', "never"), "test.yaml", Path())
    passwords = {name: Secret(name, "pw") for name in ("postgres/barman", "postgres/streaming_barman")}
    resources = list(inventories.wanted(backup.ROLE, stack, "bak1", Vault(passwords, {}, "authority")))
    units = {item.path.rpartition("/")[2] for item in resources if isinstance(item, File)}
    assert {"plainstack-backup-full.timer", "plainstack-backup-incremental.service"} <= units
    assert "plainstack-backup-incremental.timer" not in units
    assert _barman(resources)["last_backup_maximum_age"] == "170 HOURS"


def test_maintenance_runs_from_a_timer_and_not_also_from_cron(resources: list[Resource]) -> None:
    assert Absent(path="/etc/cron.d/barman") in resources
    assert {item.name for item in resources if isinstance(item, Unit)} == {
        "plainstack-barman-receive-wal.service",
        "plainstack-barman-cron.timer",
        "plainstack-backup-full.timer",
        "plainstack-backup-incremental.timer",
        "plainstack-backup-metrics.timer",
        "plainstack-restore-test.timer",
    }


def test_restore_tests_follow_their_schedule_and_can_be_switched_off() -> None:
    def timers(calendar: str) -> list[str]:
        text = TEXT.replace("REDUNDANCY 3", f"REDUNDANCY 3, restore_test: {calendar}")
        passwords = {name: Secret(name, "pw") for name in ("postgres/barman", "postgres/streaming_barman")}
        vault = Vault(passwords, {}, "authority")
        found = inventories.wanted(backup.ROLE, inventories.parse(text, "test.yaml", Path()), "bak1", vault)
        path = "/etc/systemd/system/plainstack-restore-test.timer"
        return [item.content.decode() for item in found if isinstance(item, File) and item.path == path]

    assert "\nOnCalendar=Sat 05:00\n" in timers('"Sat 05:00"')[0]
    assert timers("never") == []


def test_a_restore_test_is_cut_off_from_the_network(resources: list[Resource]) -> None:
    unit = _file(resources, "/etc/systemd/system/plainstack-restore-test.service").content.decode()
    assert "\nPrivateNetwork=yes\n" in unit


def test_the_receiver_always_restarts_within_two_seconds(resources: list[Resource]) -> None:
    unit = _file(resources, "/etc/systemd/system/plainstack-barman-receive-wal.service").content.decode()
    assert {"Restart=always", "RestartSec=1", "StartLimitIntervalSec=0"} <= set(unit.splitlines())


def test_all_services_run_as_barman_without_privileges(resources: list[Resource]) -> None:
    services = [item.path for item in resources if isinstance(item, File) and item.path.endswith(".service")]
    assert len(services) == 7
    for path in services:
        hardening = _file(resources, f"{path}.d/10-hardening.conf").content.decode().splitlines()
        wanted = {"User=barman", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="}
        assert wanted <= set(hardening)


def test_the_first_backup_comes_last_and_its_guard_does_not_start_barman(resources: list[Resource]) -> None:
    steps = [item for item in resources if isinstance(item, Command | Unit)]
    last = steps[-1]
    assert isinstance(last, Command)
    assert (last.name, last.unless) == (
        "first backup",
        "grep -qsx status=DONE ${ROOT:-}/var/lib/barman/shop/meta/*-backup.info",
    )


# --- the scripts of the host ---

_BARMAN = r"""#!/bin/sh
# A Barman whose backup is usable after $NEEDS archivings.
echo "$*" >>"$LOG"
case $* in
"backup shop" | "backup --incremental 20261120T000000 shop")
    [ -z "${BROKEN:-}" ] || { echo 'ERROR: Impossible to start the backup.' >&2; exit 1; }
    echo "status=WAITING_FOR_WALS" >"$FOLDER/meta/20261122T010000-backup.info" ;;
"check shop") printf 'WAL archive: OK\nPostgreSQL: FAILED\n'; exit 1 ;;
"-q archive-wal shop")
    echo x >>"$FOLDER/archived"; mkdir -p "$FOLDER/wals"; echo 1 >"$FOLDER/wals/shop-xlog.db" ;;
"-q check-backup"*)
    [ "$(wc -l <"$FOLDER/archived")" -lt "$NEEDS" ] || echo status=DONE >"$FOLDER/meta/$4-backup.info" ;;
"-q delete"*) rm "$FOLDER/meta/$4-backup.info" ;;
"-f json check shop") cat "$FOLDER/check.json" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "shop"
    (found / "meta").mkdir(parents=True)
    for name, text in (
        ("barman", _BARMAN),
        ("psql", '#!/bin/sh\necho "psql $*" >>"$LOG"\n'),
        ("sleep", "#!/bin/sh\n"),
        ("pgrep", "#!/bin/sh\n"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FOLDER", str(found))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("NEEDS", "4")
    return found


def _take_backup(folder: Path, kind: str = "full") -> subprocess.CompletedProcess[str]:
    words = ["sh", str(LIBRARY / "take-backup"), "shop", str(folder), "host=db1 user=barman", kind]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.programs
def test_a_backup_ends_when_it_can_be_restored(folder: Path) -> None:
    done = _take_backup(folder)
    assert (done.returncode, done.stdout) == (0, "backup 20261122T010000 can be restored\n")
    assert (folder / "meta" / "20261122T010000-backup.info").read_text() == "status=DONE\n"


@pytest.mark.programs
def test_the_first_backup_waits_for_wal_beforehand_and_every_backup_waits_for_it_afterwards(folder: Path) -> None:
    _take_backup(folder)
    _take_backup(folder)
    log = (folder.parent / "log").read_text().splitlines()
    segments = [line.partition("pg_create_restore_point('")[2].split("'")[0] for line in log if "psql" in line]
    assert segments == ["plainstack: first WAL", *["plainstack: end of backup 20261122T010000"] * 2]


@pytest.mark.programs
def test_missing_wal_fails_the_backup_with_a_hint_where_to_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEEDS", "1000")
    done = _take_backup(folder)
    assert done.returncode == 1
    assert "WAL that it needs has not arrived; see why: systemctl status plainstack-barman-receive-wal" in done.stderr


@pytest.mark.programs
def test_a_backup_that_cannot_start_reports_the_failed_checks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "1")
    done = _take_backup(folder)
    assert done.returncode == 1
    assert "PostgreSQL: FAILED" in done.stderr
    assert "WAL archive" not in done.stderr


@pytest.mark.programs
def test_an_incremental_backup_is_based_on_the_newest_usable_one(folder: Path) -> None:
    for name, status in (("20261119T000000", "DONE"), ("20261120T000000", "DONE"), ("20261121T000000", "FAILED")):
        (folder / "meta" / f"{name}-backup.info").write_text(f"status={status}\n")
    assert _take_backup(folder, "incremental").returncode == 0
    assert "backup --incremental 20261120T000000 shop" in (folder.parent / "log").read_text().splitlines()


@pytest.mark.programs
@pytest.mark.parametrize("wal", ["", "missing"])
def test_a_scheduled_incremental_backup_becomes_a_full_one_if_it_has_no_base_or_wal_is_missing(
    folder: Path, wal: str
) -> None:
    if wal:
        (folder / "meta/20261120T000000-backup.info").write_text("status=DONE\n")
        (folder / "wal-missing").write_text("1795309648\nwhy\n")
    done = _take_backup(folder, "incremental")
    assert done.stdout.startswith("a full backup is taken: ")
    assert "backup shop" in (folder.parent / "log").read_text().splitlines()
    assert not (folder / "wal-missing").exists()


@pytest.mark.programs
def test_incomplete_earlier_backups_are_removed_after_a_complete_one(folder: Path) -> None:
    for name, status in (("20261120T000000", "DONE"), ("20261121T000000", "STARTED"), ("20261121T100000", "FAILED")):
        (folder / "meta" / f"{name}-backup.info").write_text(f"status={status}\n")
    _take_backup(folder)
    left = sorted(path.name for path in (folder / "meta").iterdir())
    assert left == ["20261120T000000-backup.info", "20261122T010000-backup.info"]


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


def _metrics(folder: Path, check: str = CHECKED, streams: str = "1 4096 0.25") -> dict[str, float]:
    (folder / "check.json").write_text(check)
    (folder.parent / "psql").write_text(f"#!/bin/sh\necho '{streams}'\n")
    words = ["python3", str(LIBRARY / "backup-metrics"), "shop", str(folder), "host=db1", str(folder / "tests")]
    subprocess.run([*words, str(folder.parent / "out.prom")], check=True)
    lines = [line for line in (folder.parent / "out.prom").read_text().splitlines() if not line.startswith("#")]
    values = (line.replace('{server="shop"}', "").replace('server="shop",', "").rsplit(" ", 1) for line in lines)
    return {name: float(value) for name, value in values}


def _received(folder: Path, *names: str) -> None:
    """Let the folder hold these files; each was received a second after the one before."""
    for seconds, name in enumerate(names, 999_950):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
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
        "plainstack_barman_wal_lag_bytes": 4096,
        "plainstack_barman_wal_lag_seconds": 0.25,
        "plainstack_backup_last_success_timestamp_seconds": 1795309708,
        "plainstack_backup_last_full_timestamp_seconds": 1795309648,
        "plainstack_backup_size_bytes": 99,
        "plainstack_barman_last_wal_timestamp_seconds": 999_952,
        "plainstack_backup_wal_gaps": 0,
        "plainstack_backup_wal_missing_timestamp_seconds": 0,
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
        "plainstack_restore_test_seconds": 12.5,
    }


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
    assert before == {"timestamp_seconds": 1795300000}
    result = {"backup": "b", "at": "2026-11-22T03:00:00Z", "passed": False, "seconds": 1, "problems": ["x"]}
    (folder / "tests" / "from-copy" / "b.json").write_text(json.dumps(result))
    assert found() == {"timestamp_seconds": 1795316400, "ok": 0}
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


# --- missing WAL ---

_LOST = (
    "2026-11-22 01:00:00,1 [9] barman INFO: shop: pg_receivewal: error: unexpected termination of replication stream:"
    " ERROR:  requested WAL segment 000000010000000000000007 has already been removed\n"
)
_FORKED = "ERROR:  requested starting point 0/8000000 on timeline 1 is not in this server's history"


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
    for seconds, name in ((100, "wals/0000000100000000/000000010000000000000006"), (200, "streaming/7.partial")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("WAL")
        os.utime(folder / name, (seconds, seconds))
    return folder


@pytest.mark.programs
@pytest.mark.parametrize("words", ["ERROR: can no longer access replication slot", _LOST, _FORKED])
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


def _mend(folder: Path) -> list[str]:
    subprocess.run(["sh", str(LIBRARY / "mend-wal"), "shop", str(folder)], check=True, capture_output=True)
    log = folder.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.programs
def test_missing_wal_is_mended_once_with_a_new_slot_and_what_was_received_is_kept(receiving: Path) -> None:
    assert _mend(receiving) == []
    (receiving / "wal-missing").write_text("100.5\nwhy\n")
    wanted = [f"-q receive-wal {option} shop" for option in ("--drop-slot", "--create-slot", "--reset")]
    assert _mend(receiving) == wanted
    assert sorted(path.name for path in (receiving / "streaming").iterdir()) == ["7"]
    assert _mend(receiving) == wanted
