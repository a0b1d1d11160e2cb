"""A teardown in a real shell: the host is as it was before the deploy, also if the teardown was killed on its way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from plainstack.engine.plan.actions import HostPlan
from plainstack.engine.resources import Command, Directory, File, Link, Package, Resource, Unit, User
from plainstack.engine.sayings import Leftover
from plainstack.engine.teardown import before, script
from plainstack.engine.teardown.plan import teardown
from tests.unit.engine.example_role import BEFORE
from tests.unit.sandbox import RUNS, STAMP, Done, Sandbox, build

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners and accounts: needs root"),
]

DATA = Leftover("/var/lib/app", "the files of app")
SCRATCH = Leftover("/srv/scratch", "scratch files", data=False)
WRITES = Command(
    name="writes",
    why="w",
    run="mkdir -p $ROOT/var/lib/app $ROOT/srv/scratch && touch $ROOT/var/lib/app/upload $ROOT/srv/scratch/x",
    unless="[ -e $ROOT/srv/scratch/x ]",
)
WANTED: dict[str, Sequence[Resource]] = {
    "base": (
        Package(name="nginx"),
        Package(name="sudo"),
        File(path="/etc/hosts", content=b"127.0.0.1 app\n", vital=True),
        Link(path="/etc/localtime", target="/usr/share/zoneinfo/Etc/UTC", vital=True),
    ),
    "app": (
        *BEFORE["app"],
        User(name="app"),
        Directory(path="/srv/web", purge=True),
        File(path="/opt/deep/er/file", content=b"ours\n"),
        WRITES,
    ),
}
EVERYTHING = [item for items in WANTED.values() for item in items]
# What stays after a teardown without --data, and what the stand-ins record.
ASIDE = ("systemd", "etc/shadow", "etc/gshadow", "etc/group", "etc/passwd")


@pytest.fixture
def host(bare: Sandbox) -> Sandbox:
    bare.write("/etc/hosts", "127.0.0.1 theirs\n", mode=0o600)
    (bare.root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    bare.write("/packages", "sudo\n")
    (bare.root / "srv").mkdir()
    (bare.root / "etc/systemd/system").mkdir(parents=True)
    (bare.root / "var/log").mkdir()
    return bare


def deploy(host: Sandbox) -> None:
    assert [done.text for done in host.deploy(WANTED) if not done.ok] == []


def planned(host: Sandbox, *, data: bool = False) -> HostPlan:
    left = [DATA, SCRATCH, before.AUDIT_LOG]
    _, text = host.sh(before.question(left))
    said = before.parse(text.splitlines())
    return teardown("sandbox", WANTED, host.observe(EVERYTHING), said, left, STAMP, data=data)


def tear_down(host: Sandbox, *, data: bool = False, stop_after: int | None = None) -> list[Done]:
    """Tear the host down until a transaction fails; `stop_after` kills each transaction after that many steps."""
    found = planned(host, data=data)
    generation = host.generation()
    ended: list[Done] = []
    for work in found.transactions:
        sent = build(work, stop_after=stop_after, planned_at=generation)
        ended.append(host.run(sent))
        if not ended[-1].ok:
            return ended
        generation = sent.generation
    if found.farewell:
        audit = {"who": "me", "commit": "abc", "command": "inv teardown"}
        sent = script.farewell(found.farewell, f"run-{next(RUNS)}", audit, "", stop_after, generation)
        ended.append(host.run(sent))
    return ended


def accounts(host: Sandbox) -> set[str]:
    return {line.partition(":")[0] for path in ("/etc/passwd", "/etc/group") for line in host.read(path).splitlines()}


def test_with_data_a_host_is_as_it_was(host: Sandbox) -> None:
    bare, names = host.tree(*ASIDE), accounts(host)
    deploy(host)
    uid = next(line.split(":")[2] for line in host.read("/etc/passwd").splitlines() if line.startswith("app:"))
    os.chown(host.root / "var/lib/app/upload", int(uid), int(uid))
    assert host.read("/packages").split() == ["sudo", "nginx"]
    assert [done.text for done in tear_down(host, data=True) if not done.ok] == []
    assert host.tree(*ASIDE) == bare
    assert accounts(host) == names
    assert not (host.root / "var/log/plainstack").exists()
    assert planned(host, data=True).empty
    assert not list((host.root / "systemd/active").iterdir())
    assert not list((host.root / "systemd/enabled").iterdir())


def test_data_stays_unless_the_operator_asks_for_its_removal(host: Sandbox) -> None:
    bare = host.tree(*ASIDE)
    deploy(host)
    assert all(done.ok for done in tear_down(host))
    kept = {path for path in host.tree(*ASIDE, "var/lib/plainstack") if path not in bare}
    assert kept == {"var/lib/app", "var/lib/app/upload"}
    assert '"result": "done", "who": "me", "commit": "abc", "command": "inv teardown"' in host.read(
        "/var/log/plainstack/audit.jsonl"
    )
    assert planned(host).empty
    assert all(done.ok for done in tear_down(host, data=True))
    assert host.tree(*ASIDE) == bare


def test_a_teardown_that_was_killed_at_any_step_is_completed_by_the_next(host: Sandbox, tmp_path: Path) -> None:
    bare = host.tree(*ASIDE)
    deploy(host)
    # Every third step: each of the scripts ends at all of them in one run or another.
    for stop_after in range(1, 60, 3):
        killed = host.copy(tmp_path / f"killed-{stop_after}")
        ended = tear_down(killed, data=True, stop_after=stop_after)
        for _ in range(3):
            # Each run may be one transaction further.
            if planned(killed, data=True).empty:
                break
            assert [done.text for done in tear_down(killed, data=True) if not done.ok] == []
        assert killed.tree(*ASIDE) == bare
        killed.remove()
        if all(done.ok for done in ended):
            return
    pytest.fail("no teardown came to its end")


def test_a_deploy_builds_the_host_again(host: Sandbox) -> None:
    deploy(host)
    first = host.tree(*ASIDE, "var/lib/plainstack")
    assert all(done.ok for done in tear_down(host))
    deploy(host)
    assert host.tree(*ASIDE, "var/lib/plainstack") == first
    assert host.plan(WANTED).empty
    assert planned(host).farewell == planned(host).farewell
    assert all(done.ok for done in tear_down(host, data=True))


def test_a_package_that_others_need_stays_and_is_named(host: Sandbox) -> None:
    deploy(host)
    host.write("/conflicts", "theirs\n")
    ended = tear_down(host)
    assert all(done.ok for done in ended), ended[-1].text
    assert "@note\tnginx stays, because theirs needs it" in ended[-1].text
    assert "nginx" in host.read("/packages").split()


def test_an_account_that_owns_files_of_others_stays_until_the_files_are_gone(host: Sandbox) -> None:
    deploy(host)
    host.write("/home/report", "x\n")
    host.sh("chown app $ROOT/home/report")
    uid = next(line.split(":")[2] for line in host.read("/etc/passwd").splitlines() if line.startswith("app:"))
    os.chown(host.root / "home/report", int(uid), int(uid))
    ended = tear_down(host)
    assert "the account app stays" in "".join(done.text for done in ended)
    assert "app" in accounts(host)
    (host.root / "home/report").unlink()
    assert planned(host).empty
    assert all(done.ok for done in tear_down(host, data=True))
    assert "app" not in accounts(host)


def test_a_failed_removal_of_a_role_brings_everything_of_it_back(host: Sandbox) -> None:
    deploy(host)
    was = host.tree(*ASIDE, "var/lib/plainstack")
    found = planned(host).transactions[0]
    assert found.role == "app"
    ended = host.run(build(found, stop_after=None, planned_at="somebody else's"))
    assert (ended.ok, ended.answer.outcome) == (False, "untouched")
    assert host.tree(*ASIDE, "var/lib/plainstack") == was


def test_a_unit_without_the_files_of_plainstack_is_running_again_after_the_teardown(host: Sandbox) -> None:
    unit = Unit(name="ssh.service", reload_on=("/etc/ours.conf",), guarded=True)
    wanted = {"base": (File(path="/etc/ours.conf", content=b"ours\n"), unit)}
    (host.root / "systemd/packaged/ssh.service").touch()
    for folder in ("active", "enabled"):
        (host.root / f"systemd/{folder}/ssh.service").touch()
    host.reads("ssh.service", "/etc/ours.conf")
    assert all(done.ok for done in host.deploy(wanted))
    assert host.read("/systemd/loaded/ssh.service") == "ours\n"
    _, text = host.sh(before.question([]))
    seen = host.observe(wanted["base"])
    found = teardown("sandbox", wanted, seen, before.parse(text.splitlines()), [], STAMP, data=False)
    assert host.run(build(found.transactions[0], planned_at=host.generation())).ok
    assert (host.root / "systemd/active/ssh.service").exists()
    assert host.read("/systemd/loaded/ssh.service") == ""
