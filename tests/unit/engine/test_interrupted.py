"""A transaction that is killed or loses its operator: the next run reaches the state of an uninterrupted run."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plainstack.engine.observed import Unfinished
from plainstack.engine.resources import Command, File, Package, Validation
from tests.unit.engine.example_role import AFTER, BEFORE, app
from tests.unit.sandbox import Sandbox, build
from tests.waiting import PATIENCE, until

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners and mount namespaces: needs root"),
]


def test_after_a_kill_at_any_step_the_next_run_reaches_the_desired_state(deployed: Sandbox, tmp_path: Path) -> None:
    """The steps are read from the script, so that the test also covers new kinds of steps."""
    whole = deployed.copy(tmp_path / "whole")
    (work,) = whole.plan(AFTER).transactions
    steps = build(work).steps
    assert whole.run(build(work)).ok
    assert whole.plan(AFTER).empty
    loaded = whole.calls().count("restart app.service")
    assert loaded == 1

    def kill(number: int) -> tuple[Sandbox, list[str]]:
        host = deployed.copy(tmp_path / f"killed-{number}")
        killed = host.run(build(work, stop_after=number))
        assert killed.code == 137, killed.text
        assert [line.split("\t")[1] for line in killed.text.splitlines() if line.startswith("@step")] == [
            *steps[:number]
        ]
        again = host.deploy(AFTER)
        assert all(done.ok for done in again), again[-1].text
        return host, host.calls()

    with ThreadPoolExecutor(4) as pool:
        results = dict(zip(steps, pool.map(kill, range(1, len(steps) + 1)), strict=True))
    for step, (host, calls) in results.items():
        assert host.tree() == whole.tree(), step
        # The unit restarts exactly once, before or after the kill.
        assert calls.count("restart app.service") == loaded, step
        assert list((host.root / "var/lib/plainstack/runs").iterdir()) == [], step


def test_a_reload_that_is_due_after_a_kill_does_not_become_a_restart(deployed: Sandbox) -> None:
    new = app("port = 2\n", *BEFORE["app"][-2:])
    written = build(deployed.plan(new).transactions[0]).steps.index("write /etc/app/app.conf") + 1
    deployed.deploy(new, stop_after=written)
    assert deployed.calls() == []
    assert deployed.deploy(new)[-1].ok
    assert deployed.calls() == ["reload app.service"]
    assert "port = 2" in deployed.read("systemd/loaded/app.service")


@pytest.mark.parametrize("outcome", ["done", "rolled-back"])
def test_a_plan_made_while_an_earlier_run_was_still_working_is_not_applied(deployed: Sandbox, outcome: str) -> None:
    """After two Ctrl-Cs the operator repeats the command at once: the probe runs during the earlier run."""
    for pipe in ("at", "go"):
        os.mkfifo(deployed.root / pipe)
    slow = Command(
        name="slow",
        why="w",
        run="echo ran >>$ROOT/var/log/ran; echo >$ROOT/at; read -r end <$ROOT/go; [ $end = done ]; touch $ROOT/went",
        unless="[ -e $ROOT/went ]",
    )
    new = app("port = 2\n", slow)
    (work,) = deployed.plan(new).transactions
    with ThreadPoolExecutor() as pool:
        earlier = pool.submit(deployed.run, build(work))
        (deployed.root / "at").read_text()
        generation, (stale,) = deployed.generation(), deployed.plan(new).transactions
        (deployed.root / "go").write_text(f"{outcome}\n")
        assert earlier.result().ok is (outcome == "done")
    before = deployed.tree()
    done = deployed.run(build(stale, planned_at=generation))
    assert done.code != 0
    assert done.answer.outcome == "untouched"
    assert done.answer.tail == [
        "an earlier run was still changing this host while this run probed it. Run the same command again"
    ]
    assert deployed.tree() == before
    assert deployed.read("/var/log/ran") == "ran\n"


def test_the_second_role_of_a_run_is_not_mistaken_for_an_outdated_plan(bare: Sandbox) -> None:
    """Each transaction of a run changes the host after the next one was planned."""
    wanted = {"base": (Package(name="nginx"), File(path="/etc/one", content=b"1\n")), **AFTER}
    assert [done.ok for done in bare.deploy(wanted)] == [True, True, True]
    assert bare.plan(wanted).empty


def test_if_the_operator_is_gone_before_the_start_nothing_changes(deployed: Sandbox) -> None:
    before = deployed.tree()
    slow = Validation(name="slow", run="until [ -e $RUN/orphaned ]; do :; done", reads=("/",))
    new = app("port = 2\n", slow)
    done = deployed.run(build(deployed.plan(new).transactions[0]), hold=False)
    assert done.answer.outcome == "untouched"
    assert done.answer.failed == "begin: the operator is gone, nothing was touched"
    assert deployed.tree() == before


def test_a_started_transaction_finishes_even_if_the_operator_is_gone(deployed: Sandbox) -> None:
    """Half of a change would be worse than a whole change whose output is not read."""
    waits = Command(
        name="go", why="w", run="until [ -e $RUN/orphaned ]; do :; done; touch $ROOT/went", unless="[ -e $ROOT/went ]"
    )
    new = app("port = 2\n", waits)
    done = deployed.run(build(deployed.plan(new).transactions[0]), leave_at=b"@step\trun go")
    assert done.code == 0
    assert deployed.plan(new).empty
    assert list((deployed.root / "var/lib/plainstack/runs").iterdir()) == []


def test_what_an_earlier_run_is_doing_is_seen_and_a_run_that_cannot_wait_says_it(deployed: Sandbox) -> None:
    """The operator's connection is gone during a command that takes long, and the command is started again."""
    for name, script in (
        ("sleep", "exec /bin/sleep 0.05"),
        ("flock", '[ "$*" != "-w 90 8" ] && exec /usr/bin/flock "$@"'),
    ):
        (deployed.root / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (deployed.root / "bin" / name).chmod(0o755)
    os.mkfifo(deployed.root / "go")
    long = Command(
        name="prepare",
        why="w",
        run="echo 40 %; read -r end <$ROOT/go; touch $ROOT/went",
        unless="[ -e $ROOT/went ]",
        timeout=3600,
        follow=True,
    )
    (work,) = deployed.plan(app("port = 2\n", long)).transactions
    with ThreadPoolExecutor() as pool:
        earlier = pool.submit(deployed.run, build(work))
        until(lambda: deployed.observe([]).unfinished.progress)
        seen = deployed.observe([])
        late = deployed.run(build(work))
        (deployed.root / "go").write_text("\n")
        assert earlier.result().ok
    assert (seen.ending, seen.unfinished.step, seen.unfinished.progress) == (True, "run prepare: w", "40 %")
    assert seen.unfinished.left is not None
    assert 3600 - PATIENCE < seen.unfinished.left <= 3600
    assert late.answer.outcome == "untouched"
    assert late.answer.tail == [
        "it has come to this step: run prepare: w",
        "    40 %",
        "nothing was changed. Run the same command again: it waits until the step has ended",
    ]
    assert deployed.observe([]).unfinished == Unfinished()


def test_a_host_finishing_an_abandoned_transaction_says_so_and_one_in_use_names_its_operator(
    deployed: Sandbox,
) -> None:
    applying, held = (deployed.root / "run" / name for name in ("plainstack-apply.lock", "plainstack.lock"))
    assert not deployed.observe([]).ending
    with applying.open("a") as work:
        fcntl.flock(work, fcntl.LOCK_EX)
        assert deployed.observe([]).ending
        with held.open("w") as run:
            fcntl.flock(run, fcntl.LOCK_EX)
            run.write("me@here since noon: inv deploy\n")
            run.flush()
            seen = deployed.observe([])
        assert (seen.lock, seen.ending) == ("me@here since noon: inv deploy", False)
    assert not deployed.observe([]).ending
