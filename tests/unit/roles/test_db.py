"""Role db: who may connect, how data is replicated, and what a deploy must refuse."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from plainstack.engine.declared import by_name
from plainstack.engine.observed import Observed
from plainstack.engine.resources import Command, File, Resource, Unit
from plainstack.inventory.stack import Stack
from plainstack.postgresql import preflight, sql
from plainstack.postgresql.layout import BIN, CLUSTERS, DATA, UNIT
from plainstack.postgresql.topology import members, primaries
from plainstack.roles import db
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories
from tests.waiting import PATIENCE

ETC = "/etc/postgresql/17/main"

TEXT = """
stack: small
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  db-2: {address: 10.0.0.2, roles: [db]}
  db3: {address: 10.0.0.3, roles: [db]}
  app1: {address: 10.0.0.4, roles: [app]}
  bak1: {address: 10.0.0.5, roles: [backup]}
  mon1: {address: 10.0.0.6, roles: [monitoring]}
  other: {address: 10.0.0.7}
services: {web: {source: ., project: p}}
database: {name: shop, synchronous: true}
"""


@pytest.fixture
def small() -> Stack:
    return inventories.parse(TEXT, "test.yaml", Path())


@pytest.fixture
def fake_vault(small: Stack) -> Vault:
    return Vault(
        passwords={name: Secret(name, f"pw-of-{name}") for name in by_name(small, {"db": db.ROLE})},
        certificates={name: Certificate("chain", Secret(f"{name}.key", "key")) for name in small.hosts},
        authority="authority",
    )


def _resources(stack: Stack, vault: Vault, host: str = "db1") -> list[Resource]:
    return inventories.wanted(db.ROLE, stack, host, vault)


def _text(resources: list[Resource], path: str) -> str:
    (found,) = [item for item in resources if isinstance(item, File) and item.path == path]
    return found.content.decode()


def _settings(resources: list[Resource]) -> dict[str, str]:
    text = "".join(
        _text(resources, f"{ETC}/conf.d/{name}.conf") for name in ("10-restart", "20-reload", "30-replication")
    )
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("'") for name, _, value in (line.partition("=") for line in lines)}


def test_only_hosts_that_use_the_database_may_connect_and_only_encrypted_with_a_password(
    small: Stack, fake_vault: Vault
) -> None:
    lines = _text(_resources(small, fake_vault), f"{ETC}/pg_hba.conf").splitlines()
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
    one, other = (_settings(_resources(small, fake_vault, name)) for name in ("db1", "db-2"))
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {"cluster_name", "primary_conninfo", "primary_slot_name"}


def test_a_standby_asks_all_other_hosts_which_one_accepts_writes(small: Stack, fake_vault: Vault) -> None:
    settings = _settings(_resources(small, fake_vault, "db-2"))
    words = dict(word.split("=") for word in settings["primary_conninfo"].split())
    assert words["host"] == "db1,db3"
    assert words["target_session_attrs"] == "read-write"
    assert words["load_balance_hosts"] == "random"
    assert words["sslmode"] == "verify-full"
    assert words["application_name"] == "db-2"
    assert settings["primary_slot_name"] == "db_2"


def test_synchronous_replication_needs_confirmation_from_any_one_replica(small: Stack, fake_vault: Vault) -> None:
    name = "synchronous_standby_names"
    assert _settings(_resources(small, fake_vault))[name] == 'ANY 1 ("db1", "db-2", "db3")'
    asynchronous = inventories.parse(TEXT.replace("synchronous: true", "synchronous: false"), "test.yaml", Path())
    assert _settings(_resources(asynchronous, fake_vault))[name] == ""


def test_writes_on_a_single_db_host_do_not_wait_for_a_replica(small: Stack, fake_vault: Vault) -> None:
    hosts = {name: host for name, host in small.hosts.items() if name not in ("db-2", "db3")}
    alone = small.model_copy(update={"hosts": hosts})
    settings = _settings(_resources(alone, fake_vault))
    assert settings["synchronous_standby_names"] == ""
    assert "primary_conninfo" not in settings
    assert sql.slots(alone, "db1") == ("barman",)


def test_every_db_host_keeps_slots_for_its_peers_and_for_barman(small: Stack) -> None:
    assert sql.slots(small, "db1") == ("db_2", "db3", "barman")


def test_only_the_first_db_host_may_create_a_new_cluster(small: Stack, fake_vault: Vault) -> None:
    path = "/usr/local/lib/plainstack/db-bootstrap"
    makes = {n: "    initialise\n" in _text(_resources(small, fake_vault, n), path) for n in ("db1", "db-2", "db3")}
    assert makes == {"db1": True, "db-2": False, "db3": False}


def test_settings_that_need_a_restart_are_separate_from_those_that_need_a_reload(
    small: Stack, fake_vault: Vault
) -> None:
    resources = _resources(small, fake_vault)
    (unit,) = [item for item in resources if isinstance(item, Unit) and item.name == UNIT]
    assert {path.rsplit("/", 1)[1] for path in unit.restart_on} == {"postgresql.conf", "10-restart.conf"}
    restarting = _text(resources, f"{ETC}/conf.d/10-restart.conf")
    assert {"max_connections", "shared_buffers", "wal_level"} <= {
        line.split(" ")[0] for line in restarting.splitlines()
    }
    assert set(unit.reload_on) >= {
        f"{ETC}/pg_hba.conf",
        f"{ETC}/conf.d/30-replication.conf",
        "/etc/plainstack/tls/host.crt",
    }


def test_secrets_are_only_in_private_files(small: Stack, fake_vault: Vault) -> None:
    resources = _resources(small, fake_vault)
    private = {item.path for item in resources if isinstance(item, File) and item.secret}
    assert private == {f"{ETC}/plainstack.sql", "/var/lib/postgresql/.pgpass"}
    assert all(item.mode == 0o600 for item in resources if isinstance(item, File) and item.secret)
    for item in resources:
        if isinstance(item, Command):
            assert "pw-of" not in item.run + item.unless
            assert "SCRAM-SHA-256$" not in item.run + item.unless
    assert "pw-of" not in _text(resources, f"{ETC}/plainstack.sql")


def test_no_statement_is_ever_logged(small: Stack, fake_vault: Vault) -> None:
    settings = _settings(_resources(small, fake_vault))
    assert (settings["log_statement"], settings["log_min_error_statement"]) == ("none", "panic")
    assert settings["log_min_duration_statement"] == "-1"


def test_without_a_backup_host_there_are_no_roles_for_barman(small: Stack, fake_vault: Vault) -> None:
    with_backup = {role.name for role in sql.roles(small, fake_vault)}
    hosts = {name: host for name, host in small.hosts.items() if name != "bak1"}
    without = {role.name for role in sql.roles(small.model_copy(update={"hosts": hosts}), fake_vault)}
    assert with_backup - without == {"barman", "streaming_barman"}


@dataclass
class Bootstrap:
    """The bootstrap script of a host of the small stack, with stand-ins for the programs that it calls."""

    text: str
    root: Path

    @property
    def folder(self) -> Path:
        """The folder for clusters of this PostgreSQL version."""
        return self.root / CLUSTERS.lstrip("/")

    def run(self, answers: dict[str, str], copy: str = "") -> subprocess.CompletedProcess[str]:
        """Run the script; `answers` has psql's output for each peer, `copy` is one more command of pg_basebackup."""
        cases = "".join(f"{peer}) echo '{answer}' ;;\n" for peer, answer in answers.items())
        made = 'while [ "$1" != -D ]; do shift; done; mkdir "$2"; echo 17 >"$2/PG_VERSION"; '
        self._program("psql", f'while [ "$1" != -h ]; do shift; done; case $2 in\n{cases}esac')
        self._program("initdb", made + 'touch "$2/postgresql.conf" "$2/pg_hba.conf" "$2/pg_ident.conf" "$2/new"')
        self._program("pg_basebackup", made + f'touch "$2/copied"; {copy}')
        # The script's waiting time is over after its first pause.
        self._program("sleep", ': >"$ROOT/slept"')
        self._program("date", 'if [ -e "$ROOT/slept" ]; then echo 1000; else echo 0; fi')
        there = {"ROOT": str(self.root), "PATH": f"{self.root}{BIN}:{os.defpath}"}
        return subprocess.run(["sh", "-c", self.text], capture_output=True, text=True, timeout=PATIENCE, env=there)

    @property
    def made(self) -> set[str] | None:
        """The names in the data directory; None without a data directory."""
        data = self.folder / "main"
        return {item.name for item in data.iterdir()} if data.exists() else None

    def _program(self, name: str, script: str) -> None:
        path = self.root / BIN.lstrip("/") / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def bootstrap(small: Stack, fake_vault: Vault, tmp_path: Path) -> Callable[[str], Bootstrap]:
    def of(host: str) -> Bootstrap:
        text = _text(_resources(small, fake_vault, host), "/usr/local/lib/plainstack/db-bootstrap")
        for folder in (BIN, DATA):
            (tmp_path / folder.lstrip("/")).parent.mkdir(parents=True)
        (tmp_path / BIN.lstrip("/")).mkdir()
        return Bootstrap(text, tmp_path)

    return of


NOBODY = "connection to server failed: Connection refused"
SILENCE = "connection to server failed: timeout expired"


@pytest.mark.programs
def test_on_the_first_deploy_the_first_host_creates_a_cluster(bootstrap: Callable[[str], Bootstrap]) -> None:
    first = bootstrap("db1")
    assert first.run({"db-2": NOBODY, "db3": NOBODY}).returncode == 0
    assert first.made == {"PG_VERSION", "new"}


@pytest.mark.programs
def test_on_the_first_deploy_the_other_hosts_create_no_cluster(bootstrap: Callable[[str], Bootstrap]) -> None:
    second = bootstrap("db-2")
    done = second.run({"db1": NOBODY, "db3": NOBODY})
    assert (done.returncode, second.made) == (1, None)
    assert done.stderr == (
        "no data directory, and no primary to copy one from: no db host has a server."
        " See what the db hosts are: fab failover status\n"
    )


@pytest.mark.programs
@pytest.mark.parametrize("host", ["db1", "db3"])
def test_a_host_without_data_copies_whichever_host_is_primary(bootstrap: Callable[[str], Bootstrap], host: str) -> None:
    there = bootstrap(host)
    (there.folder / "main.new").mkdir()
    assert there.run({"db1": "t", "db-2": "f", "db3": "t"}).returncode == 0
    assert there.made == {"PG_VERSION", "copied", "standby.signal"}


@pytest.mark.programs
@pytest.mark.parametrize("answer", [SILENCE, "t", "FATAL: password authentication failed"])
def test_the_first_host_creates_no_second_cluster(bootstrap: Callable[[str], Bootstrap], answer: str) -> None:
    first = bootstrap("db1")
    done = first.run({"db-2": NOBODY, "db3": answer})
    assert (done.returncode, first.made) == (1, None)
    assert done.stderr.startswith("no data directory, and it is not safe to make one: db3 ")


@pytest.mark.programs
def test_an_incomplete_copy_is_not_a_data_directory(bootstrap: Callable[[str], Bootstrap]) -> None:
    second = bootstrap("db-2")
    done = second.run({"db1": "f"}, copy="echo 'lost the connection'; exit 1")
    assert (done.returncode, second.made) == (1, None)
    assert "lost the connection" in done.stderr


@pytest.mark.programs
def test_no_cluster_is_created_next_to_data_that_may_be_in_use(bootstrap: Callable[[str], Bootstrap]) -> None:
    first = bootstrap("db1")
    (first.folder / "main").mkdir()
    (first.folder / "main" / "precious").touch()
    assert first.run({"db-2": NOBODY, "db3": NOBODY}).returncode == 1
    assert first.made == {"precious"}


@pytest.mark.programs
@pytest.mark.parametrize("host", ["db1", "db-2"])
def test_an_incomplete_data_directory_is_kept_beside_the_copy(bootstrap: Callable[[str], Bootstrap], host: str) -> None:
    there = bootstrap(host)
    (there.folder / "main").mkdir()
    (there.folder / "main" / "half").touch()
    assert there.run({"db1": "t", "db-2": "t", "db3": "f"}).returncode == 0
    assert there.made == {"PG_VERSION", "copied", "standby.signal"}
    (kept,) = there.folder.glob("main.old-*")
    assert [item.name for item in kept.iterdir()] == ["half"]


@pytest.mark.programs
def test_an_empty_folder_does_not_count_as_an_incomplete_copy(bootstrap: Callable[[str], Bootstrap]) -> None:
    first = bootstrap("db1")
    (first.folder / "main").mkdir()
    assert first.run({"db-2": NOBODY, "db3": NOBODY}).returncode == 0
    assert first.made == {"PG_VERSION", "new"}


@pytest.mark.programs
def test_a_fenced_off_host_does_not_wait_but_says_how_to_unfence_it(
    bootstrap: Callable[[str], Bootstrap],
) -> None:
    first = bootstrap("db1")
    done = first.run({"db-2": "could not connect: Protocol not available", "db3": NOBODY})
    assert (done.returncode, first.made) == (1, None)
    assert not (first.root / "slept").exists()
    assert done.stderr == (
        "db-2 has fenced this host off since a failover. Make it a replica: fab failover rejoin --host=db1\n"
    )


EMPTY = {"data": "no"}
PRIMARY = {"data": "yes", "running": "yes", "recovery": "false", "system_identifier": "7", "timeline": "1"}
STANDBY = {**PRIMARY, "signal": "yes", "recovery": "true"}
STOPPED = {"data": "yes", "running": "no", "system_identifier": "7", "timeline": "1"}
STOPPED_STANDBY = {**STOPPED, "signal": "yes"}
STARTING = {"data": "yes", "running": "yes"}
PROMOTED = {**PRIMARY, "timeline": "2"}
FOREIGN = {**STANDBY, "system_identifier": "8"}


@pytest.mark.parametrize(
    ("db1", "db2"),
    [
        (EMPTY, EMPTY),
        (PRIMARY, EMPTY),
        (PRIMARY, STANDBY),
        (PRIMARY, None),
        (EMPTY, PROMOTED),
        (STANDBY, PROMOTED),
        (STOPPED_STANDBY, PROMOTED),
        (None, PROMOTED),
        (STOPPED, STANDBY),
        (STOPPED, STOPPED_STANDBY),
        (STOPPED, EMPTY),
        (STARTING, STANDBY),
        (None, None),
    ],
)
def test_these_states_do_not_stop_a_deploy(db1: dict[str, str] | None, db2: dict[str, str] | None) -> None:
    assert preflight.refusals(_pair(), {"db1": db1, "db2": db2}, {}) == []


@pytest.mark.parametrize(
    ("db1", "db2", "said"),
    [
        (PRIMARY, PROMOTED, "2 primaries: db1 and db2. Their writes diverge. db2 has the newest timeline (2)"),
        (PRIMARY, FOREIGN, "the system identifiers of db1 and db2 differ"),
        (EMPTY, None, "db1 has no data directory, and db2 does not answer, so it is unknown whether a primary exists"),
        (
            EMPTY,
            STARTING,
            "db1 has no data directory, and db2 does not answer, so it is unknown whether a primary exists",
        ),
        (EMPTY, STOPPED, "db1 has no data directory, but db2 has one and is stopped. Start it as the primary"),
        (EMPTY, STANDBY, "no primary: db2 can only follow one. Promote a replica"),
        (STOPPED, PROMOTED, "db1 is stopped and would start as a second primary, next to db2. Rejoin it as a replica"),
        (STOPPED, None, "db1 is stopped and would start as a primary, but db2 does not answer"),
        (STOPPED, STARTING, "db1 is stopped and would start as a primary, but db2 does not answer"),
        (STOPPED, STOPPED, "db1 and db2 are stopped, and each would start as a primary"),
        (STANDBY, STANDBY, "no primary: db1 and db2 can only follow one. Promote a replica"),
    ],
)
def test_these_states_stop_a_deploy(db1: dict[str, str] | None, db2: dict[str, str] | None, said: str) -> None:
    (refusal,) = preflight.refusals(_pair(), {"db1": db1, "db2": db2}, {})
    assert refusal.startswith(said)


def test_the_primary_is_determined_by_observation_and_not_by_order() -> None:
    everybody = members(["db1", "db2"], {"db1": STANDBY, "db2": PROMOTED})
    assert [member.name for member in primaries(everybody)] == ["db2"]


def _pair() -> Stack:
    text = "stack: s\nhosts:\n  db1: {address: 10.0.0.1, roles: [db]}\n  db2: {address: 10.0.0.2, roles: [db]}\n"
    return inventories.parse(text + "database: {name: shop}\n", "test.yaml", Path())


@pytest.mark.programs
@pytest.mark.parametrize(
    ("answers", "code"), [("exit 0", 0), ("echo '/etc/x.conf:1: work_mem: bad'", 1), ("echo refused >&2; exit 2", 1)]
)
def test_a_reload_with_errors_reports_their_places_in_the_files(
    small: Stack, fake_vault: Vault, tmp_path: Path, answers: str, code: int
) -> None:
    (unit,) = [item for item in _resources(small, fake_vault) if isinstance(item, Unit) and item.name == UNIT]
    folder = tmp_path / BIN.lstrip("/")
    folder.mkdir(parents=True)
    for name, text in (("psql", answers), ("setpriv", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    there = {"ROOT": str(tmp_path), "PATH": f"{folder}:{os.defpath}"}
    done = subprocess.run(["sh", "-eu", "-c", unit.health], capture_output=True, text=True, env=there)
    assert done.returncode == code
    assert done.stdout == ("/etc/x.conf:1: work_mem: bad\n" if answers.startswith("echo '") else "\n" * code)


def test_a_setting_that_waits_for_a_restart_is_reported_and_does_not_stop_a_deploy(small: Stack) -> None:
    (finding,) = db.ROLE.findings(small, small.hosts["db1"], Observed(facts={"restart": "max_connections, wal_level"}))
    assert finding.text.startswith("max_connections, wal_level: changed, but takes effect only when PostgreSQL")
    assert not finding.refused
    assert not list(db.ROLE.findings(small, small.hosts["db1"], Observed(facts=STANDBY)))
    (member,) = members(["db1"], {"db1": {**PRIMARY, "restart": "wal_level"}})
    assert member.restart == "wal_level"
