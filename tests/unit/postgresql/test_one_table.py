"""One table or database out of a backup: what the options mean, and that a copy is there completely or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import commands
import pytest

from plainstack.errors import PlainstackError, Refused
from plainstack.postgresql.layout import AS_POSTGRES
from plainstack.postgresql.restore import one_table
from plainstack.postgresql.restore.one_table import Database, Table, chosen

ORDERS = Table("shop", "public", "orders", "public", "orders_restored")


@pytest.mark.parametrize(
    ("table", "database", "into", "wanted"),
    [
        ("public.orders", "", "", ORDERS),
        ("orders", "", "orders_restored", ORDERS),
        ("sales.orders", "", "old", Table("shop", "sales", "orders", "sales", "old")),
        ("sales.orders", "", "archive.orders", Table("shop", "sales", "orders", "archive", "orders")),
        ("", "shop", "", Database("shop", "shop_restored")),
        ("", "shop", "shop_old", Database("shop", "shop_old")),
    ],
)
def test_the_copy_gets_another_name(table: str, database: str, into: str, wanted: Table | Database) -> None:
    assert chosen("shop", table, database, into) == wanted


@pytest.mark.parametrize(
    ("table", "database", "into", "why"),
    [
        ("", "", "x", "either a table"),
        ("a", "b", "", "either a table"),
        ("public.orders", "", "orders", "must not have the name of the table"),
        ("", "shop", "shop", "must not have the name of the database"),
        ('public."or ders"', "", "", "--table="),
        ("orders", "", "x;y", "--into=x;y: not a name"),
        ("orders", "", "x" * 64, "at most 63 bytes"),
    ],
)
def test_what_cannot_be_a_copy_is_refused(table: str, database: str, into: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        chosen("shop", table, database, into)


def test_the_scratch_cluster_is_a_fresh_one_that_can_be_dumped() -> None:
    stop, start = one_table.start_script("20261126T115436", ("--before-xid=745",)).splitlines()
    assert stop.endswith("stop one-table")
    found = commands.options_of(commands.parser().parse_args(start.split()[3:]))
    assert (found["dump"], found["serve"], found["target"]) == (True, False, ["xid", "745"])


def test_what_is_left_out_is_reported() -> None:
    found = one_table.prepared('{"size" : 8192, "left_out" : ["foreign key lines_o_fkey"]}\n')
    assert (found.size, found.left_out) == (8192, ("foreign key lines_o_fkey",))
    with pytest.raises(PlainstackError):
        one_table.prepared("")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the tree of a primary: pg_dump fails if a file `fails` exists, and psql notes its input."""
    programs = tmp_path / "usr/lib/postgresql/17/bin"
    programs.mkdir(parents=True)
    (tmp_path / "var/lib/postgresql/17/main").mkdir(parents=True)
    dump = '#!/bin/sh\necho "create table copy;"\n[ ! -e "$ROOT/fails" ] || { echo "connection lost" >&2; exit 1; }\n'
    psql = '#!/bin/sh\ncase "$*" in *" -c "*) echo "$*" >>"$ROOT/ran" ;; *) cat >>"$ROOT/ran"; echo "COPY 7" ;; esac\n'
    for name, text in (("pg_dump", dump), ("psql", psql)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("ROOT", str(tmp_path))
    return tmp_path


def _copy(host: Path, wanted: Table | Database, size: int = 0) -> tuple[int, str, str]:
    script = one_table.copy_script(wanted, "bak1", size).replace(f"{AS_POSTGRES} ", "").replace("chown postgres", ": ")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env={**os.environ})
    ran = (host / "ran").read_text() if (host / "ran").exists() else ""
    return done.returncode, done.stdout + done.stderr, ran


@pytest.mark.programs
def test_a_table_is_committed_once_all_of_it_is_there(host: Path) -> None:
    assert _copy(host, ORDERS) == (0, "7\n", "begin;\ncreate table copy;\ncommit;\n")


@pytest.mark.programs
def test_a_dump_that_fails_is_never_committed(host: Path) -> None:
    (host / "fails").touch()
    code, said, ran = _copy(host, ORDERS)
    assert (code, said) == (1, "connection lost\n")
    assert "commit" not in ran


@pytest.mark.programs
def test_a_database_gets_its_name_last_and_is_dropped_if_its_dump_fails(host: Path) -> None:
    wanted = Database("shop", "shop_old")
    code, _, ran = _copy(host, wanted)
    assert code == 0
    assert ran.splitlines()[-1] == 'alter database plainstack_restoring rename to :"into";'
    (host / "ran").unlink()
    (host / "fails").touch()
    code, said, ran = _copy(host, wanted)
    assert (code, said) == (1, "connection lost\n")
    assert "rename" not in ran
    assert "drop database if exists plainstack_restoring" in ran.splitlines()[-1]


@pytest.mark.programs
def test_a_disk_that_is_too_small_is_reported_before_anything_is_copied(host: Path) -> None:
    code, said, ran = _copy(host, ORDERS, size=10**17)
    assert code == 1
    assert "the disk of the primary is too small" in said
    assert ran == ""
