"""Drills on real hosts: they pass, their reports are kept, and the stack is whole even after an interrupted drill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from plainstack.postgresql.layout import UNIT
from tests.lab.commands import await_output, waiting_to_start
from tests.lab.conftest import Operator
from tests.lab.drills import GAP, LOAD, SLOW, passed
from tests.waiting import PATIENCE, until

SHORT = "--seconds=15"
# The fault comes after five seconds, and the load must outlast the longest gap that is allowed.
LONG = "--seconds=28"


def started(operator: Operator, target: str, text: str) -> tuple[subprocess.Popen[str], str]:
    """Start a drill, and return it with its output up to a text."""
    command = [
        str(Path(sys.executable).with_name("fab")),
        "failover",
        "drill",
        f"--target={target}",
        *LOAD,
        SHORT,
        f"--max-gap={GAP}",
    ]

    def attempt() -> list[tuple[subprocess.Popen[str], str]]:
        process = subprocess.Popen(
            [*command, f"--inventory={operator.inventory}"],
            cwd=operator.project,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            return [(process, await_output(process, text))]
        except AssertionError as missing:
            process.wait(PATIENCE)
            if SLOW not in str(missing):
                raise
            return []

    return until(attempt, SLOW)[0]


@pytest.mark.parametrize(("target", "fault"), [("app", "kill"), ("balancer", "kill"), ("db", "kill"), ("db", "cut")])
def test_a_drill_passes_and_no_write_is_lost(whole: Operator, target: str, fault: str) -> None:
    data = passed(whole, target, fault, LONG if target == "db" else SHORT)
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
    (primary,) = json.loads(whole.fab("status", "--json", code=None).out)["primary"]
    query = "select count(*) from incidents_sample where key like 'drill-%' union all select count(*) from pg_namespace"
    asked = f"runuser -u postgres -- psql -XAtqc \"{query} where nspname = 'drill'\" shop"
    assert whole.on(primary, asked).split() == ["0", "0"]


def test_a_second_drill_is_refused_and_an_interrupted_drill_leaves_the_stack_intact(whole: Operator) -> None:
    (victim,) = json.loads(whole.fab("status", "--json", code=None).out)["primary"]
    # The interrupted drill still repairs the stack; until it has ended, it keeps other runs out.
    with waiting_to_start(whole, victim, UNIT):
        first, text = started(whole, "db", "does not report that it works")
        os.kill(first.pid, signal.SIGINT)
        with ThreadPoolExecutor() as pool:
            refusals = pool.map(
                lambda words: whole.fab(*words, code=1).err, [("drill", "--target=app"), ("switchover",)]
            )
            refused = "".join(refusals)
    assert first.stdout is not None
    text += first.stdout.read()
    assert first.wait(PATIENCE) == 1, text
    assert "no drill during another run" in refused
    assert refused.count("1: another run is at work: ") == 2, refused
    assert "it was interrupted" in text
    assert "ok   topology: whole" in text, text
    assert "ok   acknowledged writes lost: 0" in text, text


def test_a_load_generator_that_dies_fails_the_drill_and_leaves_the_stack_intact(whole: Operator) -> None:
    drilling, text = started(whole, "balancer", "kill -9")
    os.kill(_generator_of(drilling.pid), signal.SIGKILL)
    assert drilling.stdout is not None
    text += drilling.stdout.read()
    assert drilling.wait(PATIENCE) == 1, text
    assert "the load generator site died" in text
    assert "ok   topology: whole" in text, text


def _generator_of(pid: int) -> int:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        # Another child may end meanwhile.
        with suppress(OSError):
            if b"plainstack.drill.load" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("the drill has no load generator")
