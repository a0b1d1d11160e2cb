"""Drills on real hosts: they pass, their reports are kept, and the stack is whole even after an interrupted drill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Operator
from tests.waiting import PATIENCE

# A small, short load, with generous limits for gaps, because a busy machine is slow; lost writes are never allowed.
LOAD = ("--rate=16", "--max-gap=20", "--max-read-gap=20")
SHORT = (*LOAD, "--seconds=15")
# The fault comes after five seconds, and the load must outlast the longest gap that is allowed.
LONG = (*LOAD, "--seconds=28")


def drill(operator: Operator, target: str, fault: str) -> dict[str, Any]:
    """Run a drill that must pass, and return its JSON."""
    load = LONG if target == "db" else SHORT
    done = operator.fab("drill", f"--target={target}", f"--fault={fault}", *load, "--json", code=None)
    data: dict[str, Any] = json.loads(done.out)
    assert data.get("passed"), (data.get("sentence") or data, done.err[-4000:])
    assert done.code == 0
    return data


@pytest.mark.parametrize(("target", "fault"), [("app", "kill"), ("balancer", "kill"), ("db", "kill"), ("db", "cut")])
def test_a_drill_passes_and_no_write_is_lost(whole: Operator, target: str, fault: str) -> None:
    data = drill(whole, target, fault)
    verdict = data["verdict"]
    for writes in verdict["writes"].values():
        assert writes["acknowledged"] > 30
        assert (writes["lost"], writes["duplicates"], writes["never_attempted"]) == ([], [], [])
    if target == "app":
        assert verdict["failed"]["get"] == {}
    if (target, fault) == ("db", "cut"):
        assert verdict["stray_attempted"] > 5
        assert verdict["stray_acknowledged"] == 0
    report = Path(data["report"])
    assert "PASS" in report.read_text(encoding="utf-8")
    assert {path.name for path in report.parent.iterdir()} == {"report.html", "drill.json", "history.jsonl"}
    last = json.loads(whole.fab("drills", "--json").out)[-1]
    assert (last["target"], last["fault"], last["passed"]) == (target, fault, True)
    # Nothing of the drill is left in the database.
    primary = next(row["host"] for row in whole.json("status") if row["database"] == "primary")
    query = "select count(*) from incidents_sample where key like 'drill-%' union all select count(*) from pg_namespace"
    asked = f"runuser -u postgres -- psql -XAtqc \"{query} where nspname = 'drill'\" shop"
    assert whole.on(primary, asked).split() == ["0", "0"]


def test_a_second_drill_is_refused_and_an_interrupted_drill_leaves_the_stack_intact(whole: Operator) -> None:
    command = [str(Path(sys.executable).with_name("fab")), "failover", "drill", "--target=db", *SHORT]
    first = subprocess.Popen(
        [*command, f"--inventory={whole.inventory}"],
        cwd=whole.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert first.stdout is not None
    said = []
    refused = ""
    for line in first.stdout:
        said.append(line)
        if "does not report that it works" in line:
            os.kill(first.pid, signal.SIGINT)
            # The interrupted drill still repairs the stack; until it has ended, it keeps other runs out.
            with ThreadPoolExecutor() as pool:
                refusals = pool.map(
                    lambda words: whole.fab(*words, code=1).err, [("drill", "--target=app"), ("switchover",)]
                )
                refused = "".join(refusals)
    assert first.wait(PATIENCE) == 1, "".join(said)
    assert "no drill during another run" in refused
    assert refused.count("1: another run is at work: ") == 2, refused
    text = "".join(said)
    assert "it was interrupted" in text
    assert "ok   topology: whole" in text, text
    assert "ok   acknowledged writes lost: 0" in text, text


def test_a_load_generator_that_dies_fails_the_drill_and_leaves_the_stack_intact(whole: Operator) -> None:
    command = [str(Path(sys.executable).with_name("fab")), "failover", "drill", "--target=balancer", *SHORT]
    drilling = subprocess.Popen(
        [*command, f"--inventory={whole.inventory}"],
        cwd=whole.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert drilling.stdout is not None
    said = []
    for line in drilling.stdout:
        said.append(line)
        if "kill -9" in line:
            os.kill(_generator_of(drilling.pid), signal.SIGKILL)
    text = "".join(said)
    assert drilling.wait(PATIENCE) == 1, text
    assert "the load generator site died" in text
    assert "ok   topology: whole" in text, text


def _generator_of(pid: int) -> int:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"plainstack.drill.load" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("the drill has no load generator")
