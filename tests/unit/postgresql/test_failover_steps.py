"""The scripts of failover steps: sh can parse the script of every step, and the commands are in a safe order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plainstack.cli.failover_commands import failed_steps
from plainstack.deploy.step_runner import Done
from plainstack.engine.resources import File
from plainstack.inventory.stack import Stack
from plainstack.postgresql.failover.decisions import Do, Step
from plainstack.postgresql.failover.steps import body
from plainstack.postgresql.failover.steps import script as step_script
from plainstack.postgresql.layout import BIN
from plainstack.postgresql.observation import observed, parse, script
from plainstack.postgresql.shell_paths import DATA, FENCED
from plainstack.roles.db import ROLE
from plainstack.secrets.values import Vault
from tests import inventories


@pytest.mark.programs
@pytest.mark.parametrize("do", list(Do))
def test_every_step_is_valid_shell(stack: Stack, do: Do) -> None:
    step = Step(do, "db1", "what 'it' does", ("db2",))
    text = step_script(stack, step, "me@here", "-", "fab failover rejoin --host='db1'")
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    leftovers = text.replace("@AT@", "").replace("@RESULT@", "")
    placeholders = ("@LEADER@", "@SELF@", "@SLOT@", "@ASK@", "@SHOWN@", "@HEALTHY@", "@HINT@", "@DB@")
    assert not [word for word in placeholders if word in leftovers]


def test_a_server_is_marked_as_a_standby_before_it_stops_or_starts(stack: Stack) -> None:
    for do, verb in ((Do.STEP_DOWN, "kill -INT"), (Do.START, "systemctl start")):
        text = body(stack, Step(do, "db1", ""))
        assert text.index(f"touch {DATA}/standby.signal") < text.index(verb)


def test_the_file_that_fences_a_server_off_is_on_disk_before_the_server_stops(stack: Stack) -> None:
    text = body(stack, Step(Do.KEEP_OUT, "db1", ""))
    assert text.index(f"sync {FENCED}") < text.index("systemctl stop")


def test_a_lone_primary_stops_waiting_for_replicas_before_it_is_promoted(stack: Stack) -> None:
    text = body(stack, Step(Do.PROMOTE_ALONE, "db2", ""))
    assert text.index("synchronous_standby_names = ''") < text.index("pg_promote")


def test_the_output_of_a_host_becomes_its_node() -> None:
    said = """data=yes
running=yes
recovery=false
timeline=4
lsn=0/713E478
synchronous=ANY 1 ("db1", "db2")
sender.db2=streaming|quorum|120|0.25
sender.barman_receive_wal=streaming|async|0|
slot.db2=t|reserved|943718400
slot.barman=f|-|
fence.db3=yes
answer.db2=yes
degraded=2026-11-22T01:50:22Z
"""
    node = observed("db1", parse(said))
    assert (node.state, node.timeline, node.degraded) == ("primary", 4, "2026-11-22T01:50:22Z")
    sender = node.sender("db2")
    assert sender is not None
    assert (sender.lag_bytes, sender.lag_seconds) == (120, 0.25)
    assert [(slot.name, slot.retained) for slot in node.slots] == [("barman", 0), ("db2", 943718400)]
    assert (set(node.fences), set(node.answering)) == ({"db3"}, {"db2"})
    assert observed("db2", None).state == "unreachable"
    assert "pg_isready" in script(["db2"])
    assert "pg_isready" not in script([])


def on_a_host(text: str, root: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script with `root` as the host's root folder; `programs` are stand-ins in sh."""
    folder = root / BIN.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    programs = {"setpriv": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"', **programs}
    for name, lines in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    there = {"ROOT": str(root), "PATH": f"{folder}:{os.defpath}"}
    return subprocess.run(["sh", "-eu"], input=text, env=there, capture_output=True, text=True, check=False)


@pytest.mark.programs
@pytest.mark.parametrize("writable", [True, False])
def test_a_primary_is_stopped_even_if_its_disk_cannot_store_the_mark(
    stack: Stack, tmp_path: Path, writable: bool
) -> None:
    text = body(stack, Step(Do.KEEP_OUT, "db1", ""))
    (tmp_path / "var/lib").mkdir(parents=True)
    if writable:
        (tmp_path / "var/lib/plainstack").mkdir()
    else:
        # The folder cannot be created, as on a read-only disk.
        (tmp_path / "var/lib/plainstack").touch()
    ran = on_a_host(text, tmp_path, systemctl=f"echo $* >>{tmp_path}/called", pgrep="exit 1")
    called = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    unit = "postgresql@17-main.service"
    assert ran.returncode == 0, ran.stderr
    assert called == ([f"stop {unit}"] if writable else [f"mask --runtime {unit}", f"stop {unit}"])
    assert (tmp_path / "var/lib/plainstack/fenced").exists() == writable


@pytest.mark.programs
@pytest.mark.parametrize(
    ("ends", "code", "kept"),
    [
        ("echo done", 0, None),
        ("echo 'pg_rewind: servers diverged'; kill -KILL $$", 0, "it ended without an error message"),
        ("echo 'pg_rewind: error: no common ancestor'; exit 1", 0, "pg_rewind: error: no common ancestor"),
        ("echo 'error: connection to server at db2 failed'; exit 1", 1, None),
    ],
)
def test_a_failed_rewind_leaves_its_mark(stack: Stack, tmp_path: Path, ends: str, code: int, kept: str | None) -> None:
    (tmp_path / "var/lib/plainstack").mkdir(parents=True)
    (tmp_path / "var/lib/postgresql/17/main").mkdir(parents=True)
    text = body(stack, Step(Do.REWIND, "db1", "", ("db2",)))
    ran = on_a_host(text, tmp_path, pg_rewind=ends)
    assert ran.returncode == code, ran.stderr
    mark = tmp_path / "var/lib/plainstack/rewinding"
    assert (mark.read_text(encoding="utf-8").strip() if mark.exists() else None) == kept


LABEL = "START WAL LOCATION: 0/5000028 (file 000000010000000000000005)\nCHECKPOINT LOCATION: 0/5000060\n"


@pytest.mark.programs
@pytest.mark.parametrize(
    ("segments", "lacks"),
    [
        # the old history until it parted in segment 6, then the primary's
        (["01 05", "01 06", "02 06", "02 07", "02 08"], False),
        # what is before the point of recovery is not needed
        (["01 02", "01 05", "02 06"], False),
        # the primary has its history only from after the segment in which it began
        (["01 05", "01 06", "02 07"], True),
        # the primary was restored, and has WAL from segment 8 on
        (["01 05", "01 06", "02 08", "02 09"], True),
        (["02 08", "02 09"], True),
        (["01 02"], True),
    ],
)
def test_a_rewound_host_that_could_never_catch_up_is_copied_instead(
    stack: Stack, tmp_path: Path, segments: list[str], lacks: bool
) -> None:
    (tmp_path / "var/lib/plainstack").mkdir(parents=True)
    wal = tmp_path / "var/lib/postgresql/17/main/pg_wal"
    wal.mkdir(parents=True)
    (wal.parent / "backup_label").write_text(LABEL, encoding="ascii")
    for timeline, segment in map(str.split, segments):
        (wal / f"000000{timeline}00000000000000{segment}").touch()
    (wal / "00000002.history").write_text("1\t0/6000100\tno recovery target specified\n\n", encoding="ascii")
    ran = on_a_host(body(stack, Step(Do.REWIND, "db1", "", ("db2",))), tmp_path, pg_rewind="echo done")
    assert ran.returncode == 0, ran.stderr
    mark = tmp_path / "var/lib/plainstack/rewinding"
    assert mark.exists() == lacks
    if lacks:
        assert mark.read_text(encoding="utf-8").strip() == "db2 lacks WAL from after their histories parted"


@pytest.mark.programs
def test_an_empty_mark_counts(tmp_path: Path) -> None:
    (tmp_path / "var/lib/plainstack").mkdir(parents=True)
    (tmp_path / "var/lib/plainstack/rewinding").touch()
    ran = on_a_host(script([]), tmp_path)
    assert observed("db1", parse(ran.stdout)).rewinding == "it was interrupted"


@pytest.mark.programs
def test_half_rewound_data_does_not_start_even_as_a_standby(stack: Stack, vault: Vault, tmp_path: Path) -> None:
    (guard,) = [
        item
        for item in inventories.wanted(ROLE, stack, "db1", vault)
        if isinstance(item, File) and item.path.endswith("/db-start-guard")
    ]
    data = tmp_path / "var/lib/postgresql/17/main"
    data.mkdir(parents=True)
    (tmp_path / "var/lib/plainstack").mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n", encoding="ascii")
    (data / "standby.signal").touch()
    assert on_a_host(guard.content.decode(), tmp_path).returncode == 0
    (tmp_path / "var/lib/plainstack/rewinding").write_text("an earlier rewind was interrupted\n", encoding="utf-8")
    ran = on_a_host(guard.content.decode(), tmp_path)
    assert ran.returncode == 1
    assert "did not finish (an earlier rewind was interrupted). Make this host a replica: fab failover" in ran.stderr


def test_a_copy_is_received_under_a_name_that_no_write_waits_for(stack: Stack) -> None:
    text = body(stack, Step(Do.CLONE, "db2", "", ("db1",)))
    assert "application_name=db2_copy " in text


def test_a_retry_that_succeeds_is_not_a_failure() -> None:
    def done(do: Do, error: str = "") -> Done:
        return Done(Step(do, "db2", "", optional=True), 0, 1, error)

    assert not failed_steps([done(Do.FOLLOW, "does not stream"), done(Do.REWIND), done(Do.FOLLOW)])
    assert not failed_steps([done(Do.KEEP_OUT, "unreachable"), done(Do.AWAIT_WAL, "the last WAL did not arrive")])
    assert [one.step.do for one in failed_steps([done(Do.FOLLOW), done(Do.FOLLOW, "gone"), done(Do.SITE)])] == [
        Do.FOLLOW
    ]
