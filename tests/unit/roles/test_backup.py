"""Role backup: Barman's configuration and its schedule."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from plainstack.engine.resources import Absent, Command, File, Resource, Unit, Validation
from plainstack.inventory.stack import Stack
from plainstack.roles import backup
from plainstack.secrets.values import Secret, Vault
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


@pytest.mark.parametrize("key", ["conninfo", "streaming_conninfo"])
def test_a_backup_notices_a_primary_that_has_vanished(resources: list[Resource], key: str) -> None:
    # The first two are for a connection that waits for an answer, the third is for one with unacknowledged data.
    assert {"keepalives_idle=5", "keepalives_count=3", "tcp_user_timeout=8000"} <= set(_barman(resources)[key].split())


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
