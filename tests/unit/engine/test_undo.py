"""A transaction that fails undoes what it changed."""

from __future__ import annotations

import os
import subprocess

import pytest

from plainstack.engine.resources import Command, File, User, Validation
from tests.unit.engine.example_role import AFTER, BEFORE, UNIT_FILE, app
from tests.unit.sandbox import Sandbox

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners and mount namespaces: needs root"),
]


@pytest.mark.parametrize("first", [True, False], ids=["first deploy", "later deploy"])
def test_a_unit_that_does_not_come_up_undoes_everything(bare: Sandbox, first: bool) -> None:
    if not first:
        assert bare.deploy(BEFORE)[-1].ok
    before = bare.tree("var/lib/plainstack", "systemd")
    states = bare.states()
    (done,) = bare.deploy({"app": (*AFTER["app"][:3], File(path=UNIT_FILE, content=b"broken\n"), *AFTER["app"][4:])})
    assert done.answer.outcome == "rolled-back"
    assert done.answer.failed == ("start app.service" if first else "restart app.service")
    assert "last words of the unit" in done.answer.tail
    assert bare.tree("var/lib/plainstack", "systemd") == before
    assert bare.states() == states
    assert ("restart app.service" in bare.calls()[-3:]) is not first


def test_a_unit_that_is_up_but_not_healthy_undoes_everything(deployed: Sandbox) -> None:
    before = deployed.tree()
    (done,) = deployed.deploy(app("port = 2\n", health="echo 503; false"))
    assert (done.answer.outcome, done.answer.failed) == ("rolled-back", "reload app.service")
    assert done.answer.tail[:2] == ["503", "not healthy within 30 s (state: active)"]
    assert deployed.tree() == before
    assert deployed.calls() == ["reload app.service", "reload app.service"]


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        (Command(name="m", why="w", run="touch $ROOT/m; echo oops; exit 3", unless="false", undo="rm $ROOT/m"), "oops"),
        (Command(name="m", why="w", run="touch $ROOT/m", unless="false", undo="rm $ROOT/m"), "its guard still reports"),
        (
            Command(
                name="m",
                why="w",
                run="touch $ROOT/m; exec tail -f /dev/null",
                unless="false",
                undo="rm $ROOT/m",
                timeout=1,
            ),
            "did not finish within 1 s",
        ),
    ],
    ids=["fails", "has no effect", "hangs"],
)
def test_a_failing_command_is_undone_with_everything_before_it(
    deployed: Sandbox, command: Command, reported: str
) -> None:
    before = deployed.tree()
    (done,) = deployed.deploy(app("port = 2\n", command))
    assert (done.answer.outcome, done.answer.failed) == ("rolled-back", "run m: w")
    assert reported in "\n".join(done.answer.tail)
    assert deployed.tree() == before
    assert deployed.plan(BEFORE).empty


def test_a_new_unit_that_does_not_come_up_is_left_absent(bare: Sandbox) -> None:
    bare.deploy({"app": [item for item in app("broken\n")["app"] if not isinstance(item, Validation)]})
    state = {name: list((bare.root / "systemd" / name).iterdir()) for name in ("active", "enabled", "failed")}
    assert state == {"active": [], "enabled": [], "failed": []}
    assert not (bare.root / UNIT_FILE.lstrip("/")).exists()


def test_a_changed_or_removed_account_is_restored_by_an_undo(deployed: Sandbox) -> None:
    """The account keeps its number, because the files that it owns stay."""
    assert deployed.deploy(AFTER)[-1].ok
    fails = Command(name="fails", why="w", run="exit 1", unless="false")
    user = User(name="app", home="/elsewhere", shell="/bin/sh")
    others = [item for item in AFTER["app"] if not isinstance(item, User)]
    for wanted in ([*others, user, fails], [*others, fails]):
        before, groups = deployed.tree("etc/shadow", "etc/group"), deployed.read("/etc/group")
        (done,) = deployed.deploy({"app": wanted})
        assert done.answer.outcome == "rolled-back"
        assert deployed.tree("etc/shadow", "etc/group") == before
        # In /etc/group, both x and ! mean that the group has no password.
        assert deployed.read("/etc/group").replace(":x:", ":!:") == groups.replace(":x:", ":!:")


def test_an_account_that_is_in_use_stays_and_the_report_says_what_uses_it(deployed: Sandbox) -> None:
    assert deployed.deploy(AFTER)[-1].ok
    uid = int(next(line for line in deployed.read("/etc/passwd").splitlines() if line.startswith("app:")).split(":")[2])
    refuses = deployed.root / "bin/userdel"
    refuses.unlink()
    refuses.write_text("#!/bin/sh\necho 'userdel: user app is currently used by process 1' >&2\nexit 8\n")
    refuses.chmod(0o755)
    before, groups = deployed.tree("etc/shadow", "etc/group"), deployed.read("/etc/group")
    with subprocess.Popen(["sleep", "infinity"], user=uid) as job:
        try:
            (done,) = deployed.deploy({"app": [item for item in AFTER["app"] if not isinstance(item, User)]})
        finally:
            job.terminate()
    assert (done.answer.outcome, done.answer.failed) == ("rolled-back", "remove user app")
    assert done.answer.tail[-2:] == [
        f"{job.pid} runs as app: sleep infinity ",
        "deploy again when nothing runs as app any more",
    ]
    assert deployed.tree("etc/shadow", "etc/group") == before
    assert deployed.read("/etc/group") == groups


def test_an_undo_removes_a_new_account_after_the_unit_that_runs_as_it(bare: Sandbox) -> None:
    """userdel refuses while a process of the account is running."""
    (done,) = bare.deploy({"app": (*AFTER["app"], Command(name="fails", why="w", run="false", unless="false"))})
    assert done.answer.outcome == "rolled-back"
    assert bare.calls()[-2:] == ["stop app.service", "userdel app"]


def test_a_command_whose_guard_now_holds_is_neither_run_nor_undone(deployed: Sandbox) -> None:
    done = Command(name="a", why="w", run="touch $ROOT/a $ROOT/both", unless="[ -e $ROOT/a ]")
    both = Command(name="both", why="w", run="exit 1", unless="[ -e $ROOT/both ]", undo="rm $ROOT/both")
    assert deployed.deploy(app("port = 1\n", *BEFORE["app"][-2:], done, both))[-1].ok
    fails = Command(name="fails", why="w", run="exit 1", unless="false")
    (deployed.root / "a").unlink()
    (deployed.root / "both").unlink()
    deployed.deploy(app("port = 1\n", *BEFORE["app"][-2:], done, both, fails))
    assert (deployed.root / "both").exists()


def test_a_rollback_leaves_a_starting_unit_starting(deployed: Sandbox) -> None:
    """systemd is about to restart a program that has died; stopping the unit would prevent this."""
    active, pausing = deployed.root / "systemd/active/app.service", deployed.root / "systemd/activating/app.service"
    active.rename(pausing)
    (done,) = deployed.deploy(app("port = 2\n", Command(name="fails", why="w", run="false", unless="false")))
    assert done.answer.outcome == "rolled-back"
    assert deployed.calls() == ["restart app.service", "restart app.service"]
    assert "port = 1" in deployed.read("systemd/loaded/app.service")
