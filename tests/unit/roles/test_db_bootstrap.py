"""The program that gives a db host its data directory, in a real sh with stand-ins for other programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from plainstack.postgresql.layout import BIN, CLUSTERS, DATA
from tests.unit.roles.db_host import resources_of, small_stack, text_of, vault_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.programs


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
def bootstrap(tmp_path: Path) -> Callable[[str], Bootstrap]:
    small = small_stack()

    def of(host: str) -> Bootstrap:
        text = text_of(resources_of(small, vault_of(small), host), "/usr/local/lib/plainstack/db-bootstrap")
        for folder in (BIN, DATA):
            (tmp_path / folder.lstrip("/")).parent.mkdir(parents=True)
        (tmp_path / BIN.lstrip("/")).mkdir()
        return Bootstrap(text, tmp_path)

    return of


NOBODY = "connection to server failed: Connection refused"
SILENCE = "connection to server failed: timeout expired"


def test_on_the_first_deploy_the_first_host_creates_a_cluster(bootstrap: Callable[[str], Bootstrap]) -> None:
    first = bootstrap("db1")
    assert first.run({"db-2": NOBODY, "db3": NOBODY}).returncode == 0
    assert first.made == {"PG_VERSION", "new"}


def test_on_the_first_deploy_the_other_hosts_create_no_cluster(bootstrap: Callable[[str], Bootstrap]) -> None:
    second = bootstrap("db-2")
    done = second.run({"db1": NOBODY, "db3": NOBODY})
    assert (done.returncode, second.made) == (1, None)
    assert done.stderr == (
        "no data directory, and no primary to copy one from: no db host has a server."
        " See what the db hosts are: fab failover status\n"
    )


@pytest.mark.parametrize("host", ["db1", "db3"])
def test_a_host_without_data_copies_whichever_host_is_primary(bootstrap: Callable[[str], Bootstrap], host: str) -> None:
    there = bootstrap(host)
    (there.folder / "main.new").mkdir()
    assert there.run({"db1": "t", "db-2": "f", "db3": "t"}).returncode == 0
    assert there.made == {"PG_VERSION", "copied", "standby.signal"}


@pytest.mark.parametrize("answer", [SILENCE, "t", "FATAL: password authentication failed"])
def test_the_first_host_creates_no_second_cluster(bootstrap: Callable[[str], Bootstrap], answer: str) -> None:
    first = bootstrap("db1")
    done = first.run({"db-2": NOBODY, "db3": answer})
    assert (done.returncode, first.made) == (1, None)
    assert done.stderr.startswith("no data directory, and it is not safe to make one: db3 ")


def test_an_incomplete_copy_is_not_a_data_directory(bootstrap: Callable[[str], Bootstrap]) -> None:
    second = bootstrap("db-2")
    done = second.run({"db1": "f"}, copy="echo 'lost the connection'; exit 1")
    assert (done.returncode, second.made) == (1, None)
    assert "lost the connection" in done.stderr


def test_no_cluster_is_created_next_to_data_that_may_be_in_use(bootstrap: Callable[[str], Bootstrap]) -> None:
    first = bootstrap("db1")
    (first.folder / "main").mkdir()
    (first.folder / "main" / "precious").touch()
    assert first.run({"db-2": NOBODY, "db3": NOBODY}).returncode == 1
    assert first.made == {"precious"}


@pytest.mark.parametrize("host", ["db1", "db-2"])
def test_an_incomplete_data_directory_is_kept_beside_the_copy(bootstrap: Callable[[str], Bootstrap], host: str) -> None:
    there = bootstrap(host)
    (there.folder / "main").mkdir()
    (there.folder / "main" / "half").touch()
    assert there.run({"db1": "t", "db-2": "t", "db3": "f"}).returncode == 0
    assert there.made == {"PG_VERSION", "copied", "standby.signal"}
    (kept,) = there.folder.glob("main.old-*")
    assert [item.name for item in kept.iterdir()] == ["half"]


def test_an_empty_folder_does_not_count_as_an_incomplete_copy(bootstrap: Callable[[str], Bootstrap]) -> None:
    first = bootstrap("db1")
    (first.folder / "main").mkdir()
    assert first.run({"db-2": NOBODY, "db3": NOBODY}).returncode == 0
    assert first.made == {"PG_VERSION", "new"}


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
