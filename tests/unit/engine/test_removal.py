"""What is removed with a service that is no longer declared: its folder with its contents, and its account."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plainstack.engine.resources import Command, Directory, File, Resource, Unit, User
from plainstack.engine.transaction import script
from tests.unit.sandbox import Sandbox

pytestmark = pytest.mark.programs

HOME = "/srv/web"
SERVICE: tuple[Resource, ...] = (User(name="app-web"), Directory(path=HOME, mode=0o750, purge=True))
FAILS = Command(name="fails", why="w", run="false", unless="false")


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    """Return a host with a service that has written into its folder."""
    there = Sandbox.new(tmp_path / "host")
    assert there.deploy({"app": SERVICE})[-1].ok
    there.write(f"{HOME}/releases/1/source/manage.py", "pass\n")
    return there


def files(host: Sandbox) -> list[str]:
    return sorted(path.name for path in (host.root / "srv").iterdir())


def test_removing_a_service_removes_its_folder_and_account(host: Sandbox) -> None:
    assert host.deploy({"app": ()})[-1].ok
    assert files(host) == []
    assert "app-web" not in host.read("/etc/passwd")
    assert host.plan({"app": ()}).empty


def test_a_failed_removal_restores_everything(host: Sandbox) -> None:
    before = host.tree("etc/shadow", "etc/group")
    (done,) = host.deploy({"app": (FAILS,)})
    assert done.answer.outcome == "rolled-back"
    assert host.tree("etc/shadow", "etc/group") == before


def test_after_a_removal_that_was_killed_at_any_step_the_next_run_leaves_nothing(host: Sandbox, tmp_path: Path) -> None:
    steps = len(host.copy(tmp_path / "counted").plan({"app": ()}).transactions[0].actions) + 3
    for stop_after in range(1, steps + 1):
        killed = host.copy(tmp_path / f"killed-{stop_after}")
        killed.deploy({"app": ()}, stop_after=stop_after)
        ended = killed.deploy({"app": ()})
        assert [done.ok for done in ended] == [True] * len(ended)
        assert files(killed) == []
        assert killed.plan({"app": ()}).empty


def test_a_folder_that_existed_before_is_left_with_its_contents(tmp_path: Path) -> None:
    host = Sandbox.new(tmp_path / "host")
    host.write(f"{HOME}/photos/1.jpg", "somebody's\n")
    assert host.deploy({"app": SERVICE})[-1].ok
    assert host.deploy({"app": SERVICE[:1]})[-1].ok
    assert host.read(f"{HOME}/photos/1.jpg") == "somebody's\n"


LIKE_0_1_0: tuple[Resource, ...] = (SERVICE[0], Directory(path=HOME, mode=0o750))
WITH_LAYOUT: tuple[Resource, ...] = (SERVICE[0], Directory(path=HOME, mode=0o750, purge=True, layout=("releases",)))


def test_a_folder_made_by_an_older_version_is_removed_after_one_deploy_by_this_version(tmp_path: Path) -> None:
    host = Sandbox.new(tmp_path / "host")
    assert host.deploy({"app": LIKE_0_1_0})[-1].ok
    host.write(f"{HOME}/releases/1/source/manage.py", "pass\n")
    assert host.deploy({"app": WITH_LAYOUT})[-1].ok
    assert host.plan({"app": WITH_LAYOUT}).empty
    host.write(f"{HOME}/releases/core", "x")
    assert host.deploy({"app": ()})[-1].ok
    assert files(host) == []


@pytest.mark.parametrize("theirs", ["photos/1.jpg", ".htaccess", "*", "releases old"])
def test_a_folder_made_by_an_older_version_is_left_if_it_holds_other_files(tmp_path: Path, theirs: str) -> None:
    host = Sandbox.new(tmp_path / "host")
    host.write(f"{HOME}/{theirs}", "somebody's\n")
    assert host.deploy({"app": LIKE_0_1_0})[-1].ok
    assert host.plan({"app": WITH_LAYOUT}).empty
    assert host.deploy({"app": LIKE_0_1_0[:1]})[-1].ok
    assert host.read(f"{HOME}/{theirs}") == "somebody's\n"


def test_a_folder_that_holds_declared_files_is_left(host: Sandbox) -> None:
    inside = Directory(path=f"{HOME}/shared")
    assert host.deploy({"app": (*SERVICE, inside)})[-1].ok
    assert host.deploy({"app": (), "other": (inside,)})[-1].ok
    assert (host.root / "srv/web/shared").is_dir()


def test_the_uid_of_an_account_is_not_reused_while_files_of_it_are_left(host: Sandbox) -> None:
    _, _, uid, gid, *_ = next(line for line in host.read("/etc/passwd").splitlines() if "app-web" in line).split(":")
    host.write("/var/spool/upload", "a customer's\n")
    os.chown(host.root / "var/spool/upload", int(uid), int(gid))
    (done,) = host.deploy({"app": ()})
    assert done.ok
    assert "app-web" in host.read("/etc/passwd")
    (note,) = done.answer.notes
    assert note.startswith("the account app-web stays")
    assert "/var/spool/upload" in note
    assert host.plan({"app": ()}).empty
    # Files in the service's own folder do not keep the account; they are removed.
    assert files(host) == []


def test_files_that_a_run_keeps_for_its_undo_do_not_keep_their_account(host: Sandbox) -> None:
    """Such as the settings of a service, which belong to the group of its account."""
    (host.root / "library").write_text(script.library())
    for path, found in (("/var/lib/plainstack/runs/1/old/8", ""), ("/var/spool/upload", "/var/spool/upload")):
        host.write(path, "x\n")
        os.chown(host.root / path.lstrip("/"), 0, 54321)
        _, said = host.sh(f"RUN={host.root}/run; . {host.root}/library; file_of -gid 54321", b"")
        assert said.strip().removeprefix(str(host.root)) == found


def test_a_plan_says_that_a_folder_is_removed_with_its_contents(host: Sandbox) -> None:
    details = [getattr(action, "detail", "") for _, action in host.plan({"app": (Unit(name="x"),)}).actions()]
    assert "no longer declared, with its contents" in details


@pytest.mark.parametrize("ahead", [True, False])
def test_a_folder_filled_by_a_failed_first_deploy_counts_as_created_by_plainstack(tmp_path: Path, ahead: bool) -> None:
    host = Sandbox.new(tmp_path / "host")
    made = Directory(path=HOME, mode=0o750, purge=True, layout=("releases",))
    fill = Command(name="fill", why="w", run=f'echo 1 >"$ROOT{HOME}/releases"', unless="false", ahead=True)
    fails = Command(name="fails", why="w", run="false", unless="false", ahead=ahead)
    assert host.deploy({"app": (SERVICE[0], made, fill, fails)})[-1].answer.outcome == "rolled-back"
    assert host.deploy({"app": (SERVICE[0], made)})[-1].ok
    assert host.plan({"app": (SERVICE[0], made)}).empty
    assert host.deploy({"app": ()})[-1].ok
    assert files(host) == []


PAGES = "/srv/pages"
SERVER = Unit(name="server.service", reload_on=("/etc/server.conf",), in_use=(f"{PAGES}/",))


def _server(*pages: str) -> tuple[Resource, ...]:
    """Return a server whose configuration names its pages."""
    named = File(path="/etc/server.conf", content=" ".join(pages).encode())
    files = [File(path=f"{PAGES}/{page}", content=b"a page") for page in pages]
    return (*([Directory(path=PAGES)] if pages else []), *files, named, SERVER)


def test_a_file_that_a_running_unit_opens_is_removed_after_the_unit_has_loaded_its_new_configuration(
    tmp_path: Path,
) -> None:
    host = Sandbox.new(tmp_path / "host")
    host.write("/etc/systemd/system/server.service", "[Service]\nExecStart=/bin/true\n")
    assert host.deploy({"web": _server("old")})[-1].ok
    (work,) = host.plan({"web": _server("new")}).transactions
    done = [action.subject() for action in work.actions]
    assert done.index(f"write {PAGES}/new") < done.index("reload server.service") < done.index(f"remove {PAGES}/old")
    (work,) = host.plan({"web": _server()}).transactions
    assert [action.subject() for action in work.actions][-3:] == [
        "reload server.service",
        f"remove {PAGES}/old",
        f"remove {PAGES}",
    ]
    # The place of a file is free before something else takes it.
    (work,) = host.plan({"web": (*_server(), Directory(path=f"{PAGES}/old"))}).transactions
    done = [action.subject() for action in work.actions]
    assert done.index(f"remove {PAGES}/old") < done.index("reload server.service")


def test_after_a_late_removal_that_was_killed_at_any_step_the_next_run_leaves_nothing(tmp_path: Path) -> None:
    host = Sandbox.new(tmp_path / "host")
    host.write("/etc/systemd/system/server.service", "[Service]\nExecStart=/bin/true\n")
    assert host.deploy({"web": _server("old")})[-1].ok
    steps = len(host.copy(tmp_path / "counted").plan({"web": _server("new")}).transactions[0].actions) + 3
    for stop_after in range(1, steps + 1):
        killed = host.copy(tmp_path / f"killed-{stop_after}")
        killed.deploy({"web": _server("new")}, stop_after=stop_after)
        ended = killed.deploy({"web": _server("new")})
        assert [done.ok for done in ended] == [True] * len(ended)
        assert [path.name for path in (killed.root / "srv/pages").iterdir()] == ["new"]
        assert killed.plan({"web": _server("new")}).empty


DROP_IN = File(path="/etc/systemd/system/plainstack-web.service.d/10-sandbox.conf", content=b"[Service]\n")
DROP_INS = "etc/systemd/system/plainstack-web.service.d"


def test_the_folder_of_a_units_drop_ins_is_removed_with_the_last_of_them(tmp_path: Path) -> None:
    host = Sandbox.new(tmp_path / "host")
    assert host.deploy({"app": (DROP_IN,)})[-1].ok
    before = host.tree()
    assert host.deploy({"app": (FAILS,)})[-1].answer.outcome == "rolled-back"
    assert host.tree() == before, "a failed removal restores the folder with the file"
    assert host.deploy({"app": ()})[-1].ok
    assert not (host.root / DROP_INS).exists()
    assert host.deploy({"app": (DROP_IN,)})[-1].ok
    assert (host.root / DROP_INS).is_dir()


@pytest.mark.parametrize("first", [True, False])
def test_a_folder_of_drop_ins_that_somebody_else_uses_is_left(tmp_path: Path, first: bool) -> None:
    host = Sandbox.new(tmp_path / "host")
    if first:
        (host.root / DROP_INS).mkdir(parents=True)
    assert host.deploy({"app": (DROP_IN,)})[-1].ok
    if not first:
        host.write(f"/{DROP_INS}/override.conf", "[Service]\n")
    assert host.deploy({"app": ()})[-1].ok
    assert [path.name for path in (host.root / DROP_INS).iterdir()] == ([] if first else ["override.conf"])
