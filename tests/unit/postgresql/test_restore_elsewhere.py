"""A restore test on a db host: which hosts are refused, what travels there, and the result of both hosts."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import borrowed
import commands
import compared
import damage
import lending
import postmaster
import pytest
import recovery
from place import Cluster, Failed, Place

from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup.catalogue import Backup, Catalogue
from plainstack.postgresql.restore import elsewhere, testing

GB = 2**30
ROOM = {"missing": "", "running": "inactive", "room": str(GB)}
LENT = {
    "backup": "20261126T115436",
    "passed": True,
    "lent": True,
    "seconds": 2.0,
    "rpo_seconds": 60.0,
    "tables": 2,
    "rows": 21000,
    "problems": [],
    "notes": ["of the backup host"],
    "contents": {"database": "shop", "tables": {}},
    "size_bytes": 1000,
}


@pytest.mark.parametrize(
    ("host", "from_copy", "why"),
    [
        ("db3", False, "--host=db3: unknown host.*; known: .*db2"),
        ("app1", False, r"--host=app1: app1 does not have the role db\. .*: db1, db2"),
        ("db2", True, "--from-copy restores from the second copy on the backup host; leave --host out"),
    ],
)
def test_a_host_that_cannot_test_a_backup_is_refused_by_the_inventory(
    stack: Stack, host: str, from_copy: bool, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        elsewhere.must_be_suitable(stack, host, from_copy=from_copy)
    elsewhere.must_be_suitable(stack, "db2", from_copy=False)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"missing": "postgres pg_amcheck"}, r"db2: PostgreSQL 17 is not complete there, postgres .*: inv deploy"),
        ({"running": "activating"}, "db2: another restore test runs there"),
        ({"room": str(2**29)}, r"db2: the disk of .* is too full for the restore test: .* Nothing was restored\."),
        ({"room": ""}, "too full"),
    ],
)
def test_a_host_without_room_or_without_postgresql_is_refused_before_anything_is_restored(
    facts: dict[str, str], why: str
) -> None:
    elsewhere.refuse("db2", ROOM, GB - elsewhere.SPARE)
    with pytest.raises(Refused, match=why):
        elsewhere.refuse("db2", ROOM | facts, 1000)


def test_the_room_that_a_test_needs_is_that_of_the_restored_cluster() -> None:
    ended = datetime(2026, 11, 26, tzinfo=UTC)
    full = Backup(id="20261125T000000", end=ended, size=500, cluster=900)
    child = replace(full, id="20261126T000000", parent=full.id, kind="incremental", size=7, cluster=None)
    held = Catalogue("shop", (full, replace(child, cluster=950)))
    assert elsewhere.restored_size(held, "latest") == 950
    assert elsewhere.restored_size(held, full.id) == 900
    with pytest.raises(Refused, match=r"--backup=x: there is no usable backup with this id\. Usable are: 20261125"):
        elsewhere.restored_size(held, "x")
    with pytest.raises(Refused, match="inv backup-now"):
        elsewhere.restored_size(Catalogue("shop"), "latest")


def test_the_backup_host_understands_what_it_lends() -> None:
    script = elsewhere.lend_script(testing.options("1", datetime(2026, 11, 21, 14, 3, tzinfo=UTC), 3))
    found = commands.parser().parse_args(shlex.split(script)[3:])
    options = commands.options_of(found)
    assert (found.verb, options["target"][0], options["serve"], options["timeline"]) == ("lend", "time", True, 3)
    assert lending.NAME == elsewhere.LENT


def test_the_result_of_both_hosts_is_kept_as_one_with_the_host() -> None:
    found = elsewhere.checked(
        json.dumps({"problems": [], "notes": ["of the db host"], "seconds": 1.5}), ["copied in 2500 ms"]
    )
    result = testing.parse(testing.printed(elsewhere.completed(LENT, "db2", found)))
    assert (result.passed, result.seconds, result.notes) == (True, 6.0, ("of the backup host", "of the db host"))
    assert next(result.sentences()) == "backup 20261126T115436 can be restored on db2"
    assert not {"contents", "lent"} & set(result.data)
    damaged = elsewhere.Checked(("table x is damaged",), (), 1.0)
    assert not elsewhere.completed(LENT, "db2", damaged)["passed"]


@pytest.mark.programs
def test_the_program_that_travels_needs_nothing_but_python(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    archive = tmp_path / "program.pyz"
    archive.write_bytes(elsewhere.program(LENT))
    ran = subprocess.run(
        [sys.executable, "-I", archive], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    # This host may lack PostgreSQL 17.
    assert "verifying the copied files" in ran.stdout
    assert "Traceback" not in ran.stderr


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Check a copy in which this is found; `starts` says whether its server does."""

    class Server:
        text = ""

        def __init__(self, *_: object) -> None:
            self.log = recovery.read(self.text)

        def await_ready(self) -> tuple[()]:
            return ()

        def stop(self) -> None:
            pass

    def run(*, starts: str = "", rows: str = "", files: tuple[str, ...] = ()) -> dict[str, Any]:
        Server.text = starts or "LOG:  database system is ready to accept connections\n"
        damaged = [damage.Damaged(file, "checksum mismatch") for file in files]
        monkeypatch.setattr(damage, "of_copy", lambda *_: damaged)
        monkeypatch.setattr(compared, "compare", lambda *_: compared.Comparison([rows] if rows else [], [], 3, 70))
        request = {"contents": {"database": "shop", "unread": ["public.big"]}, "size_bytes": 1000}
        return borrowed.Checks(cluster, request).run()

    folders: Any = dict.fromkeys(("barman", "scratch", "requests", "bin", "tls", "records", "tests"), tmp_path)
    cluster = Place("", port=5499, database="shop", **folders).cluster(borrowed.NAME)
    monkeypatch.setattr(borrowed, "Postmaster", Server)
    monkeypatch.setattr(postmaster, "configure", lambda *_, **__: None)
    monkeypatch.setattr(postmaster, "control_data", lambda *_: {})
    monkeypatch.setattr(damage, "of_pages", lambda *_: [])
    monkeypatch.setattr(damage, "of_tables", lambda *_: [])
    monkeypatch.setattr(damage, "sentence", lambda _, one: f"file {one.file}: {one.why}")
    return run


def test_damage_of_a_copy_and_rows_that_differ_are_problems(checks: Callable[..., dict[str, Any]]) -> None:
    assert checks()["problems"] == []
    assert "public.big" in checks()["notes"][0]
    assert checks(rows="table x has 1 rows", files=("base/5/7",))["problems"] == [
        "table x has 1 rows",
        "file base/5/7: checksum mismatch",
    ]


def test_a_copy_that_does_not_start_fails_the_test_but_a_full_disk_says_nothing(
    checks: Callable[..., dict[str, Any]],
) -> None:
    assert checks(starts="FATAL:  invalid page\n")["problems"] == ["the copied cluster does not start: invalid page"]
    with pytest.raises(Failed, match="became full"):
        checks(starts="FATAL:  could not write: No space left on device\n")


def test_a_lent_cluster_waits_for_its_readers_and_ends_when_they_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder: Any = None
    cluster = Cluster(folder, "x")
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    for readers, ended in ((lambda _: 0, lending.PATIENCE), (lambda now: 2 if 10 < now < 500 else 0, 505)):
        clock[0] = 0
        monkeypatch.setattr(postmaster, "query", lambda *_, readers=readers: str(readers(clock[0])))
        lending.await_readers(cluster)
        assert abs(clock[0] - ended) < 2
