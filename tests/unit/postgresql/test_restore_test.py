"""Restore tests: what is compared with the record of a backup, and how damage is named."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compared
import contents
import damage
import postmaster
import pytest
import record
from base_backup import BaseBackup
from place import Cluster, Failed, Place

TABLE = {"rows": 10, "hash": "42", "percent": 100}
RECORD = {
    "marker": "849ea680-3f48-4c2f-b101-357839127648",
    "database": "shop",
    "snapshot": "762:762:",
    "lsn": "0/C000090",
    "tables": {"public.orders": TABLE},
    "unread": [],
}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    folders: Any = {
        name: tmp_path / name for name in ("barman", "scratch", "requests", "bin", "tls", "records", "tests")
    }
    return Place("shop", port=5499, database="shop", **folders).cluster("restore-test")


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the restored cluster contain these tables, after so many transactions that the record does not know."""

    def contain(tables: dict[str, dict[str, Any]], raced: int = 0, marker: str = "1") -> None:
        printed = [{"table": name, **known} for name, known in tables.items()]
        monkeypatch.setattr(contents, "run", lambda *_: printed)
        monkeypatch.setattr(postmaster, "query", lambda _, text, *__: marker if "marker" in text else str(raced))

    return contain


def test_equal_tables_pass(cluster: Cluster, restored: Callable[..., None]) -> None:
    restored({"public.orders": TABLE})
    found = compared.compare(cluster, RECORD)
    assert (found.problems, found.notes, found.tables, found.rows) == ([], [], 1, 10)


def test_lost_rows_and_changed_rows_are_reported_with_their_table(
    cluster: Cluster, restored: Callable[..., None]
) -> None:
    restored({"public.orders": {**TABLE, "rows": 9, "hash": "41"}})
    assert compared.compare(cluster, RECORD).problems == [
        "table public.orders has a different number of rows in the restored cluster: 9, not 10"
    ]
    restored({"public.orders": {**TABLE, "hash": "41"}})
    assert "rows of table public.orders differ" in compared.compare(cluster, RECORD).problems[0]


def test_a_table_that_changed_while_the_record_was_made_neither_passes_nor_fails(
    cluster: Cluster, restored: Callable[..., None]
) -> None:
    restored({"public.orders": {**TABLE, "rows": 11, "hash": "43"}}, raced=2)
    found = compared.compare(cluster, RECORD)
    assert found.problems == []
    assert "public.orders could not be compared, because transactions (2) committed" in found.notes[0]


def test_a_table_that_cannot_be_read_and_a_missing_marker_are_problems(
    cluster: Cluster, restored: Callable[..., None]
) -> None:
    restored({}, raced=5, marker="0")
    problems = compared.compare(cluster, RECORD).problems
    assert "marker row" in problems[0]
    assert "public.orders of database shop cannot be read" in problems[1]


def test_samples_and_unread_tables_are_mentioned(cluster: Cluster, restored: Callable[..., None]) -> None:
    sampled = {**TABLE, "percent": 12.5}
    restored({"public.orders": sampled})
    found = compared.compare(cluster, {**RECORD, "tables": {"public.orders": sampled}, "unread": ["public.big"]})
    assert found.problems == []
    assert "sample of the blocks was compared: public.orders" in found.notes[0]
    assert "public.big" in found.notes[1]


def test_a_table_is_read_in_the_same_blocks_both_times() -> None:
    assert "tablesample" not in contents.statement("public.orders", 100)
    assert "from only public.orders t tablesample system (12.5) repeatable (17);" in contents.statement(
        "public.orders", 12.5
    )
    assert "'public.\"o''x\"'::text" in contents.statement('public."o\'x"', 100)


def test_a_table_without_an_answer_is_recorded_as_unread() -> None:
    head = {"snapshot": "762:762:", "lsn": "0/C000090", "timeline": "00000001", "quiet": True, "at": "now"}
    listed = [{"table": name, "percent": 100} for name in ("public.a", "public.b")]
    found = record.parse([head, *listed, {"table": "public.a", **TABLE}])
    assert (found["tables"], found["unread"], found["lsn"]) == ({"public.a": TABLE}, ["public.b"], "0/C000090")


def _prints(monkeypatch: pytest.MonkeyPatch, code: int, out: str = "", err: str = "") -> None:
    monkeypatch.setattr(subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, code, out, err))


BACKUP = BaseBackup("20261126T115436", 1, "0/80", "0/C0", "now", 1000, ("20261126T115436",), {}, 16 * 2**20)


def test_a_changed_file_of_a_backup_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    _prints(monkeypatch, 1, err='pg_verifybackup: error: checksum mismatch for file "base/16406/16420"\n')
    (found,) = damage.of_backup(cluster.place, BACKUP)
    assert found == damage.Damaged(
        "base/16406/16420", 'checksum mismatch for file "base/16406/16420" (backup 20261126T115436)'
    )
    _prints(monkeypatch, 0)
    assert list(damage.of_backup(cluster.place, BACKUP)) == []


def test_pages_with_wrong_checksums_are_counted_per_file(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    line = 'pg_checksums: error: checksum verification failed in file "{}/base/5/{}", block {}: calculated 1\n'
    _prints(monkeypatch, 1, err="".join(line.format(cluster.data, 16420, block) for block in (1, 7)))
    (found,) = damage.of_pages(cluster)
    assert (found.file, found.why) == ("base/5/16420", "the checksum of 2 of its pages is wrong, first in block 1")
    _prints(monkeypatch, 1, err="pg_checksums: error: cluster must be shut down\n")
    with pytest.raises(Failed):
        list(damage.of_pages(cluster))


def test_a_damaged_table_or_index_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    out = (
        'heap table "shop.public.orders", block 0, offset 2:\n    xmin 7 precedes oldest\n'
        'heap table "shop.public.orders", block 0, offset 3:\n    xmin 8 precedes oldest\n'
        'btree index "shop.public.orders_pkey":\n    ERROR:  item order invariant violated\n'
    )
    _prints(monkeypatch, 2, out)
    assert list(damage.of_tables(cluster, 1000)) == [
        "heap table shop.public.orders is damaged: xmin 7 precedes oldest",
        "btree index shop.public.orders_pkey is damaged: ERROR:  item order invariant violated",
    ]


def test_a_damaged_file_is_named_by_its_table_if_the_cluster_runs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = damage.Damaged("base/16406/16420", "checksum mismatch")
    monkeypatch.setattr(
        postmaster, "query", lambda _, text, *__: "shop" if "datname" in text else "table public.orders"
    )
    assert damage.sentence(cluster, damaged) == "table public.orders of database shop: checksum mismatch"

    def fails(*_: Any) -> str:
        raise Failed("it does not run")

    monkeypatch.setattr(postmaster, "query", fails)
    assert damage.sentence(cluster, damaged) == "file base/16406/16420: checksum mismatch"
