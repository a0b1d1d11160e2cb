"""Transactions, executed by the real shell on a sandbox: each is done completely or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from plainstack.engine import probe
from plainstack.engine.observed import Unfinished
from plainstack.engine.resources import Command, Validation
from plainstack.engine.transaction.script import transaction
from tests.unit.engine.example_role import AFTER, BEFORE, UNIT_FILE, Desired, app
from tests.unit.sandbox import Sandbox, build

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners and mount namespaces: needs root"),
]


def test_a_bare_host_reaches_the_desired_state_and_stays_there(bare: Sandbox) -> None:
    (done,) = bare.deploy(AFTER)
    assert done.ok, done.text
    assert bare.plan(AFTER).empty
    assert bare.read("/etc/app/app.conf") == "port = 2\n"
    assert (bare.root / "etc/app/key").stat().st_mode & 0o7777 == 0o600
    assert (bare.root / "etc/app/key").owner() == "daemon"
    assert (bare.root / "srv/app/current").readlink() == Path("/srv/app/releases/1")
    assert not (bare.root / "etc/default-site").exists()
    assert bare.calls() == [
        "useradd --system --user-group --home-dir /srv/app --no-create-home --shell /usr/sbin/nologin --groups adm app",
        "enable --no-reload app.service",
        "daemon-reload",
        "start app.service",
    ]
    assert list((bare.root / "var/lib/plainstack/runs").iterdir()) == []


def test_a_change_reloads_or_restarts_units_and_removes_undeclared_resources(deployed: Sandbox) -> None:
    only_conf = app("port = 2\n", *BEFORE["app"][-2:])
    (done,) = deployed.deploy(only_conf)
    assert done.ok, done.text
    assert deployed.calls() == ["reload app.service"]
    (done,) = deployed.deploy(AFTER)
    assert done.ok, done.text
    assert deployed.calls()[1:] == ["daemon-reload", "restart app.service"]
    assert not (deployed.root / "etc/app/old.conf").exists()
    assert not (deployed.root / "srv/old").exists()
    assert deployed.plan(AFTER).empty


def test_manual_changes_are_corrected(deployed: Sandbox) -> None:
    whole = deployed.tree()
    deployed.write("/etc/app/app.conf", "by hand\n")
    (deployed.root / "etc/app/key").chmod(0o644)
    (deployed.root / "etc/app").chmod(0o777)
    (deployed.root / "srv/app/current").unlink()
    (deployed.root / "srv/app/current").symlink_to("/elsewhere")
    (deployed.root / "systemd/active/app.service").unlink()
    (deployed.root / "systemd/enabled/app.service").unlink()
    (deployed.root / "systemd/masked/app.service").touch()
    (done,) = deployed.deploy(BEFORE)
    assert done.ok, done.text
    assert deployed.tree() == whole
    assert deployed.calls() == ["unmask --no-reload app.service", "enable app.service", "start app.service"]


@pytest.mark.parametrize(
    ("wanted", "calls"),
    [
        (BEFORE, ["start app.service"]),
        (app("port = 2\n", *BEFORE["app"][-2:]), ["reload app.service"]),
        (app("port = 2\n", *BEFORE["app"][-2:], unit_file="[Unit]\n"), ["daemon-reload", "restart app.service"]),
    ],
    ids=["nothing", "what a reload reads", "what a restart reads"],
)
def test_a_unit_that_came_up_after_the_probe_reads_the_change(
    deployed: Sandbox, wanted: Desired, calls: list[str]
) -> None:
    """Starting a running unit would do nothing, and the recorded stamp would be wrong from then on."""
    active, pausing = deployed.root / "systemd/active/app.service", deployed.root / "systemd/activating/app.service"
    active.rename(pausing)
    (work,) = deployed.plan(wanted).transactions
    pausing.rename(active)
    assert deployed.run(build(work)).ok
    assert deployed.calls() == calls
    loaded = [deployed.read(path) for path in ("/etc/app/app.conf", "/etc/app/key", UNIT_FILE)]
    assert deployed.read("systemd/loaded/app.service") == "".join(loaded)
    assert deployed.plan(wanted).empty


def test_a_failing_validation_changes_nothing_and_shows_the_tools_message(deployed: Sandbox) -> None:
    before = deployed.tree()
    generation = deployed.read("/var/lib/plainstack/generation")
    (done,) = deployed.deploy(
        app("port = x\n", Validation(name="loud", run="echo no such port >&2; false", reads=("/",)))
    )
    assert (done.answer.outcome, done.answer.failed) == ("untouched", "validate app -t")
    assert deployed.tree() == before
    assert deployed.read("/var/lib/plainstack/generation") == generation
    assert deployed.calls() == []
    (done,) = deployed.deploy(app("port = 3\n", Validation(name="loud", run="echo no port; false", reads=("/etc/",))))
    assert (done.answer.failed, done.answer.tail) == ("validate loud", ["no port"])
    assert deployed.tree() == before
    assert not (deployed.root / "run/plainstack-preview").exists()


def test_a_validation_sees_the_new_files_at_their_real_paths_with_their_modes(deployed: Sandbox) -> None:
    look = "test ! -e /etc/app/old.conf && test ! -e /etc/default-site && test -f /etc/app/deep/er/new.conf\n"
    # Compare the owner's number: a validation sees the sandbox's passwd, not the machine's.
    look += "test \"$(stat -c '%a %u' /etc/app/key)\" = '600 1' && test ! -e /etc/app/of-a-killed-run\n"
    deployed.write("/run/plainstack-preview/etc/app/of-a-killed-run", "")
    (done,) = deployed.deploy({"app": (*AFTER["app"], Validation(name="look", run=look, reads=("/etc/app/",)))})
    assert done.ok, done.text
    assert not (deployed.root / "run/plainstack-preview").exists()


def test_removing_a_role_removes_its_units_files_and_accounts(deployed: Sandbox) -> None:
    assert deployed.deploy(AFTER)[-1].ok
    deployed.write("/etc/app/by-hand.conf", "somebody else's\n")
    deployed.calls()
    assert deployed.deploy({"base": ()})[-1].ok
    assert deployed.calls() == [
        "stop app.service",
        "disable --no-reload app.service",
        "userdel app",
        "daemon-reload",
    ]
    assert deployed.states() == {}
    assert "app:" not in deployed.read("/etc/passwd")
    # Folders that are not declared, such as the parents of a file, stay if they are not empty.
    left = [path for path in deployed.tree("systemd") if path.startswith(("etc/app", "srv"))]
    assert sorted(left) == ["etc/app", "etc/app/by-hand.conf", "etc/app/deep", "etc/app/deep/er", "srv", "srv/app"]
    assert deployed.plan({"base": ()}).empty


@pytest.mark.parametrize(
    ("harm", "reported"),
    [
        ("rm app.conf; mkdir app.conf", "write /etc/app/app.conf: a directory is in the way"),
        ("rm ../../srv/app/current; mkdir ../../srv/app/current", "write /srv/app/current: a directory is in the way"),
        ("mv ../app ../moved; ln -s moved ../app", "write /etc/app: a symbolic link is in the way"),
    ],
)
def test_files_in_the_way_are_reported_and_left(deployed: Sandbox, harm: str, reported: str) -> None:
    deployed.sh(f"cd $ROOT/etc/app; {harm}")
    before = deployed.tree()
    (done,) = deployed.deploy(app("port = 2\n"))
    assert (done.answer.outcome, done.answer.failed) == ("rolled-back", reported)
    assert deployed.tree() == before


def test_a_symlink_planted_at_the_path_of_a_file_is_not_followed(deployed: Sandbox) -> None:
    deployed.write("/etc/precious", "untouched\n")
    (deployed.root / "etc/app/app.conf.plainstack-new").symlink_to(deployed.root / "etc/precious")
    assert deployed.deploy(app("port = 2\n"))[-1].ok
    assert deployed.read("/etc/precious") == "untouched\n"
    assert not (deployed.root / "etc/app/app.conf").is_symlink()


def test_files_on_a_different_file_system_are_also_replaced_atomically(bare: Sandbox, tmp_path: Path) -> None:
    same = bare.copy(tmp_path / "same")
    assert same.deploy(AFTER)[-1].ok
    bare.write("bin/mv", '#!/bin/sh\n[ "$1" != --no-copy ] || exit 1\nexec /bin/mv "$@"\n', 0o755)
    assert bare.deploy(AFTER)[-1].ok
    assert bare.tree() == same.tree()


def test_a_command_finds_its_payload_and_leaves_none_of_it_behind(deployed: Sandbox) -> None:
    run = "cp $PAYLOAD/wheels/a.whl $ROOT/got && [ ! -r /dev/fd/8 ]"
    command = Command(name="install", why="w", run=run, unless="[ -e $ROOT/got ]")
    (work,) = deployed.plan(app("port = 1\n", command)).transactions
    done = deployed.run(build(work, {"install": [("wheels/a.whl", b"\x00wheel")]}))
    assert done.ok, done.text
    assert (deployed.root / "got").read_bytes() == b"\x00wheel"


@pytest.mark.parametrize("health", ["", "true"], ids=["read in the pause", "read at the end"])
def test_the_output_ends_with_the_new_state_of_the_host(deployed: Sandbox, health: str) -> None:
    new = app("port = 2\n", health=health)
    (work,) = deployed.plan(new).transactions
    done = deployed.run(transaction(work, "run-1", {}, {}, probe.script(new["app"])))
    assert done.ok, done.text
    seen = probe.parse("\n".join(done.answer.probe), str(deployed.root))
    # The probe ran inside the transaction, so it saw that the transaction was still running.
    assert replace(seen, ending=False, unfinished=Unfinished()) == deployed.observe(new["app"])
    assert deployed.plan(new).empty


def test_every_transaction_is_in_the_audit_log_whether_it_succeeded_or_not(deployed: Sandbox) -> None:
    deployed.deploy(app("port = 2\n"))
    deployed.deploy(app("port = x\n"))
    deployed.deploy(app("port = 3\n", Command(name="fails", why="w", run="false", unless="false")))
    lines = [json.loads(line) for line in deployed.read("/var/log/plainstack/audit.jsonl").splitlines()]
    assert [line["result"] for line in lines] == ["done", "done", "rolled-back"]
    assert all(line["who"] == "me" and line["at"].endswith("Z") for line in lines)


def test_a_stream_that_does_not_fit_on_the_disk_leaves_nothing_behind(deployed: Sandbox) -> None:
    before = deployed.tree()
    work = build(deployed.plan(app("port = 2\n")).transactions[0])
    code, said = deployed.sh(f"ulimit -f 20; {work.command}", work.stream)
    assert (code, "@" in said) == (74, False), said
    assert deployed.tree() == before
