"""Role db: who may connect, how data is replicated, and what a reload reports."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plainstack.engine.resources import Command, File, Resource, Unit
from plainstack.inventory.stack import Stack
from plainstack.postgresql import sql
from plainstack.postgresql.layout import BIN, UNIT
from plainstack.secrets.values import Vault
from tests import inventories
from tests.unit.roles.db_host import ETC, TEXT, resources_of, small_stack, text_of, vault_of


@pytest.fixture
def small() -> Stack:
    return small_stack()


@pytest.fixture
def fake_vault(small: Stack) -> Vault:
    return vault_of(small)


def _settings(resources: list[Resource]) -> dict[str, str]:
    text = "".join(
        text_of(resources, f"{ETC}/conf.d/{name}.conf") for name in ("10-restart", "20-reload", "30-replication")
    )
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("'") for name, _, value in (line.partition("=") for line in lines)}


def test_only_hosts_that_use_the_database_may_connect_and_only_encrypted_with_a_password(
    small: Stack, fake_vault: Vault
) -> None:
    lines = text_of(resources_of(small, fake_vault), f"{ETC}/pg_hba.conf").splitlines()
    rules = [line.split()[:5] for line in lines if not line.startswith(("#", "local"))]
    assert {(rule[0], rule[4]) for rule in rules} == {("hostssl", "scram-sha-256")}
    assert sorted(tuple(rule[1:4]) for rule in rules if rule[2] not in ("rewinder", "replicator")) == [
        ('"shop"', "app_a,app_b", "10.0.0.4/32"),
        ('"shop"', "barman", "10.0.0.5/32"),
        ("postgres", "barman", "10.0.0.5/32"),
        ("replication", "streaming_barman", "10.0.0.5/32"),
    ]
    assert {rule[3] for rule in rules if rule[2] in ("rewinder", "replicator")} == {
        "10.0.0.1/32",
        "10.0.0.2/32",
        "10.0.0.3/32",
    }


def test_the_database_port_is_open_to_its_users_and_the_exporter_to_monitoring_hosts(small: Stack) -> None:
    openings = list(inventories.network(small).allowed(small.hosts["db1"]))
    sources = {port: {s for o in openings if o.port == port for s in o.sources or ()} for port in (5432, 9187)}
    assert sources == {
        5432: {"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"},
        9187: {"10.0.0.6"},
    }


def test_db_hosts_have_the_same_settings_except_for_their_own_name(small: Stack, fake_vault: Vault) -> None:
    one, other = (_settings(resources_of(small, fake_vault, name)) for name in ("db1", "db-2"))
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {"cluster_name", "primary_conninfo", "primary_slot_name"}


def test_a_standby_asks_all_other_hosts_which_one_accepts_writes(small: Stack, fake_vault: Vault) -> None:
    settings = _settings(resources_of(small, fake_vault, "db-2"))
    words = dict(word.split("=") for word in settings["primary_conninfo"].split())
    assert words["host"] == "db1,db3"
    assert words["target_session_attrs"] == "read-write"
    assert words["load_balance_hosts"] == "random"
    assert words["sslmode"] == "verify-full"
    assert words["application_name"] == "db-2"
    assert settings["primary_slot_name"] == "db_2"


def test_synchronous_replication_needs_confirmation_from_any_one_replica(small: Stack, fake_vault: Vault) -> None:
    name = "synchronous_standby_names"
    assert _settings(resources_of(small, fake_vault))[name] == 'ANY 1 ("db1", "db-2", "db3")'
    asynchronous = inventories.parse(TEXT.replace("synchronous: true", "synchronous: false"), "test.yaml", Path())
    assert _settings(resources_of(asynchronous, fake_vault))[name] == ""


def test_writes_on_a_single_db_host_do_not_wait_for_a_replica(small: Stack, fake_vault: Vault) -> None:
    hosts = {name: host for name, host in small.hosts.items() if name not in ("db-2", "db3")}
    alone = small.model_copy(update={"hosts": hosts})
    settings = _settings(resources_of(alone, fake_vault))
    assert settings["synchronous_standby_names"] == ""
    assert "primary_conninfo" not in settings
    assert sql.slots(alone, "db1") == ("barman",)


def test_every_db_host_keeps_slots_for_its_peers_and_for_barman(small: Stack) -> None:
    assert sql.slots(small, "db1") == ("db_2", "db3", "barman")


def test_only_the_first_db_host_may_create_a_new_cluster(small: Stack, fake_vault: Vault) -> None:
    path = "/usr/local/lib/plainstack/db-bootstrap"
    makes = {n: "    initialise\n" in text_of(resources_of(small, fake_vault, n), path) for n in ("db1", "db-2", "db3")}
    assert makes == {"db1": True, "db-2": False, "db3": False}


def test_settings_that_need_a_restart_are_separate_from_those_that_need_a_reload(
    small: Stack, fake_vault: Vault
) -> None:
    resources = resources_of(small, fake_vault)
    (unit,) = [item for item in resources if isinstance(item, Unit) and item.name == UNIT]
    assert {path.rsplit("/", 1)[1] for path in unit.restart_on} == {"postgresql.conf", "10-restart.conf"}
    restarting = text_of(resources, f"{ETC}/conf.d/10-restart.conf")
    assert {"max_connections", "shared_buffers", "wal_level"} <= {
        line.split(" ")[0] for line in restarting.splitlines()
    }
    assert set(unit.reload_on) >= {
        f"{ETC}/pg_hba.conf",
        f"{ETC}/conf.d/30-replication.conf",
        "/etc/plainstack/tls/host.crt",
    }


def test_secrets_are_only_in_private_files(small: Stack, fake_vault: Vault) -> None:
    resources = resources_of(small, fake_vault)
    private = {item.path for item in resources if isinstance(item, File) and item.secret}
    assert private == {f"{ETC}/plainstack.sql", "/var/lib/postgresql/.pgpass"}
    assert all(item.mode == 0o600 for item in resources if isinstance(item, File) and item.secret)
    for item in resources:
        if isinstance(item, Command):
            assert "pw-of" not in item.run + item.unless
            assert "SCRAM-SHA-256$" not in item.run + item.unless
    assert "pw-of" not in text_of(resources, f"{ETC}/plainstack.sql")


def test_no_statement_is_ever_logged(small: Stack, fake_vault: Vault) -> None:
    settings = _settings(resources_of(small, fake_vault))
    assert (settings["log_statement"], settings["log_min_error_statement"]) == ("none", "panic")
    assert settings["log_min_duration_statement"] == "-1"


def test_without_a_backup_host_there_are_no_roles_for_barman(small: Stack, fake_vault: Vault) -> None:
    with_backup = {role.name for role in sql.roles(small, fake_vault)}
    hosts = {name: host for name, host in small.hosts.items() if name != "bak1"}
    without = {role.name for role in sql.roles(small.model_copy(update={"hosts": hosts}), fake_vault)}
    assert with_backup - without == {"barman", "streaming_barman"}


@pytest.mark.programs
@pytest.mark.parametrize(
    ("answers", "code"), [("exit 0", 0), ("echo '/etc/x.conf:1: work_mem: bad'", 1), ("echo refused >&2; exit 2", 1)]
)
def test_a_reload_with_errors_reports_their_places_in_the_files(
    small: Stack, fake_vault: Vault, tmp_path: Path, answers: str, code: int
) -> None:
    (unit,) = [item for item in resources_of(small, fake_vault) if isinstance(item, Unit) and item.name == UNIT]
    folder = tmp_path / BIN.lstrip("/")
    folder.mkdir(parents=True)
    for name, text in (("psql", answers), ("setpriv", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    there = {"ROOT": str(tmp_path), "PATH": f"{folder}:{os.defpath}"}
    done = subprocess.run(["sh", "-eu", "-c", unit.health], capture_output=True, text=True, env=there)
    assert done.returncode == code
    assert done.stdout == ("/etc/x.conf:1: work_mem: bad\n" if answers.startswith("echo '") else "\n" * code)
