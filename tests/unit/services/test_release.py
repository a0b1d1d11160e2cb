"""What makes a new release, which files are left out, and what a source must contain."""

from __future__ import annotations

import errno
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from plainstack.cli.report import as_data, plan_lines
from plainstack.engine.plan.actions import HostPlan, Run, Transaction
from plainstack.engine.resources import Command
from plainstack.errors import InventoryError
from plainstack.services import release
from tests import inventories
from tests.unit.services.small_source import stack_of, write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path)


def _id(source: Path) -> str:
    return release.read(stack_of(source), "web").id


def _sent(source: Path) -> set[str]:
    return {name.removeprefix("source/") for name, _ in release.read(stack_of(source), "web").source.files}


def test_the_same_content_is_the_same_release_whenever_and_wherever_it_was_written(source: Path) -> None:
    before = _id(source)
    (source / "manage.py").write_text("pass\n")
    assert _id(source.rename(source.parent / "other").rename(source)) == before


@pytest.mark.parametrize("change", ["content", "new file", "renamed", "executable", "requirements"])
def test_any_change_makes_another_release(source: Path, change: str) -> None:
    before = _id(source)
    if change == "content":
        (source / "site_" / "wsgi.py").write_text("application = 1\n")
    elif change == "new file":
        (source / "empty").touch()
    elif change == "renamed":
        (source / "extra").touch()
        before = _id(source)
        (source / "extra").rename(source / "extrb")
    elif change == "executable":
        (source / "manage.py").chmod(0o755)
    else:
        (source / "requirements.txt").write_text("django==5.3 --hash=sha256:00\n")
    assert _id(source) != before


def test_only_changed_requirements_need_another_virtual_environment(source: Path) -> None:
    before = release.read(stack_of(source), "web").venv
    (source / "manage.py").write_text("pass # changed\n")
    assert release.read(stack_of(source), "web").venv == before
    (source / "requirements.txt").write_text("django==5.3 --hash=sha256:00\n")
    assert release.read(stack_of(source), "web").venv != before


def test_secrets_and_leftovers_of_a_developer_are_left_out_and_named(source: Path) -> None:
    wanted, before = _sent(source), _id(source)
    left = (".env", ".git/config", "site_/__pycache__/wsgi.cpython-313.pyc", "db.sqlite3", "a.pyc", "venv/x")
    for name in (*left, ".gitkeep", "site_/.gitkeep", "node_modules/x"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("SECRET")
    assert _sent(source) == wanted == {"manage.py", "requirements.txt", "site_/wsgi.py"}
    assert _id(source) == before
    stays = release.read(stack_of(source), "web").source.stays
    assert stays == (".env", ".git/", ".gitkeep", "db.sqlite3", "node_modules/", "site_/.gitkeep", "venv/")


def test_a_plan_lists_once_what_a_release_leaves_out(source: Path) -> None:
    (source / ".env").touch()
    here = release.read(stack_of(source), "web").source
    run = Run(Command(name="web: release", why="put it in place", run="true", unless="false", payload=here))
    one = HostPlan("app1", None, (Transaction("app", (run,)),))
    plans = {"app1": one, "app2": replace(one, host="app2")}
    assert [line.strip() for line in plan_lines(plans, {})].count("not part of it: .env") == 1
    assert as_data(plans)["app2"][0]["stays"] == (".env",)


def test_a_plan_names_the_first_files_that_a_release_leaves_out_and_a_verbose_one_all(source: Path) -> None:
    names = [f".hidden{number:02}" for number in range(15)]
    for name in (*names, "site_/.hidden00"):
        (source / name).touch()
    here = release.read(stack_of(source), "web").source
    run = Run(Command(name="web: release", why="put it in place", run="true", unless="false", payload=here))
    plans = {"app1": HostPlan("app1", None, (Transaction("app", (run,)),))}
    shown = plan_lines(plans, {})[-1].strip()
    assert shown.startswith("not part of it: .hidden00 (2), .hidden01, ")
    assert shown.endswith(".hidden11, 3 other names (inv plan -v lists all)")
    lines = [line.strip() for line in plan_lines(plans, {}, verbose=True)]
    assert lines[lines.index("not part of it:") + 1 :] == [*names, "site_/.hidden00"]


def test_a_folder_of_public_files_is_included_whatever_its_name(source: Path) -> None:
    (source / ".well-known").mkdir()
    (source / ".well-known" / "security.txt").touch()
    assert ".well-known/security.txt" in _sent(source)


@pytest.mark.parametrize("name", ["env", "venv3.13", ".direnv", "site_/python", "linked"])
@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta/history"])
def test_a_virtual_environment_is_left_out_whatever_its_name(source: Path, name: str, mark: str) -> None:
    wanted = _sent(source)
    folder = source / name
    if name == "linked":
        folder = source / "env"
        (source / name).symlink_to("env")
    (folder / mark).parent.mkdir(parents=True)
    (folder / mark).touch()
    (folder / "lib").mkdir()
    (folder / "lib" / "django.py").touch()
    assert _sent(source) == wanted
    assert any(stay.startswith(name) for stay in release.read(stack_of(source), "web").source.stays)


def test_a_source_that_is_itself_a_virtual_environment_is_refused(source: Path) -> None:
    (source / "pyvenv.cfg").touch()
    with pytest.raises(InventoryError, match=r"src: is itself a Python environment\. Create the environment in its"):
        release.read(stack_of(source), "web")


def test_links_inside_the_source_are_replaced_by_their_targets(source: Path) -> None:
    (source / "shared").mkdir()
    (source / "shared" / "style.css").write_text("a {}")
    (source / "site_" / "static").symlink_to("../shared")
    (source / "style.css").symlink_to("shared/style.css")
    (source / "absolute").symlink_to(source / "shared")
    new = {"shared/style.css", "site_/static/style.css", "style.css", "absolute/style.css"}
    assert _sent(source) == new | {"manage.py", "requirements.txt", "site_/wsgi.py"}
    before = _id(source)
    (source / "shared" / "style.css").write_text("b {}")
    assert _id(source) != before


def test_a_source_behind_a_symlink_is_read_like_any_other(source: Path) -> None:
    (source / "shared").mkdir()
    (source / "shared" / "a").touch()
    (source / "link").symlink_to("shared")
    before = _id(source)
    source.rename(source.parent / "elsewhere")
    source.symlink_to("elsewhere")
    assert _id(source) == before


@pytest.mark.parametrize(
    ("links", "reported"),
    [
        ({"gone": "nowhere"}, "gone: a broken link"),
        ({"itself": "itself"}, "itself: a broken link"),
        ({"here": "."}, "here: a link to .*src, a folder that contains the link"),
        ({"site_/up": ".."}, "site_/up: a link to .*src, a folder that contains the link"),
        ({"site_/b/to_c": "../c", "site_/c/to_b": "../b"}, "site_/[bc], a folder that contains the link"),
        ({"out": "../outside"}, "out: a link to .*outside, outside the source. Replace it with a copy"),
        ({"out": "../outside/file"}, "out: a link to .*, outside the source"),
        ({"near": "../src-2"}, "near: a link to .*, outside the source"),
        ({"hop": "site_/hop", "site_/hop": "../../outside"}, "hop: a link to .*, outside the source"),
        ({"system": "/etc/hostname"}, "system: a link to /etc/hostname"),
    ],
)
def test_a_link_that_leads_outside_or_nowhere_or_in_a_circle_is_refused_by_name(
    source: Path, links: dict[str, str], reported: str
) -> None:
    for folder in ("outside", "src-2", "src/site_/b", "src/site_/c"):
        (source.parent / folder).mkdir(exist_ok=True)
    (source.parent / "outside" / "file").touch()
    for name, target in links.items():
        (source / name).symlink_to(target)
    with pytest.raises(InventoryError, match=reported):
        release.read(stack_of(source), "web")


def test_all_links_that_cannot_be_sent_are_named_at_once_up_to_a_limit(source: Path) -> None:
    for number in range(4):
        (source / f"bad{number}").symlink_to("nowhere")
    with pytest.raises(InventoryError) as reported:
        release.read(stack_of(source), "web")
    assert [problem.partition(": ")[0] for problem in reported.value.problems] == [
        str(source / f"bad{number}") for number in range(4)
    ]
    for number in range(4, 30):
        (source / f"bad{number}").symlink_to("nowhere")
    with pytest.raises(InventoryError) as reported:
        release.read(stack_of(source), "web")
    assert len(reported.value.problems) == 11
    assert reported.value.problems[-1].endswith("may hold more links and names that cannot be sent")


def test_links_that_multiply_stop_at_the_file_limit(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plainstack.services.source.MOST_FILES", 500)
    for number in range(12):
        (source / f"d{number}").mkdir()
        for name in "ab":
            (source / f"d{number}" / name).symlink_to(f"../d{number + 1}")
    (source / "d12").mkdir()
    (source / "d12" / "file").touch()
    with pytest.raises(
        InventoryError, match=r"holds more than 500 files, the limit of a release. The last one found is .*file"
    ):
        release.read(stack_of(source), "web")


def test_sockets_and_pipes_are_left_out_and_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _sent(source)
    # The path of a socket is limited to 107 characters, so a relative one is used.
    monkeypatch.chdir(source)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("run.sock")
        os.mkfifo(source / "pipe")
        assert _sent(source) == wanted
        assert release.read(stack_of(source), "web").source.stays == ("pipe (a pipe)", "run.sock (a socket)")


def test_executable_files_are_named_because_a_release_does_not_keep_modes(source: Path) -> None:
    (source / "manage.py").chmod(0o755)
    assert release.read(stack_of(source), "web").source.executables == ("manage.py",)


def test_a_service_can_name_another_lock_in_its_source(source: Path) -> None:
    stack = stack_of(source)
    usual, web = release.read(stack, "web"), stack.services["web"]
    other = stack.model_copy(update={"services": {"web": web.model_copy(update={"requirements": "lock/workers.txt"})}})
    with pytest.raises(InventoryError, match=r"has no lock/workers.txt: .* lock/workers.in -o lock/workers.txt"):
        release.read(other, "web")
    (source / "lock").mkdir()
    (source / "lock/workers.txt").write_text("celery==5.7 --hash=sha256:00\n")
    with_both = release.read(stack, "web")
    found = release.read(other, "web")
    assert found.venv != usual.venv == with_both.venv
    assert found.id != with_both.id
    assert found.wheels.files == (("requirements.txt", str(source / "lock/workers.txt")),)


@pytest.mark.parametrize("file", ["requirements.txt", "manage.py", "site_/wsgi.py"])
def test_a_source_that_lacks_required_files_is_refused(source: Path, file: str) -> None:
    (source / file).unlink()
    with pytest.raises(InventoryError, match=f"services.web.source: .* has no {file}"):
        release.read(stack_of(source), "web")


def test_a_name_that_is_not_valid_utf_8_is_reported(source: Path) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.txt")).touch()
    with pytest.raises(InventoryError, match=r"src/caf\\xe9.txt: the name is not UTF-8. Rename it"):
        release.read(stack_of(source), "web")


def test_the_error_names_an_unreadable_file(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "data").touch()

    def fails(path: str, mode: str) -> IO[bytes]:
        if path.endswith("/data"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return Path(path).open(mode)

    monkeypatch.setattr("plainstack.services.digests.open", fails, raising=False)
    with pytest.raises(InventoryError, match=f"^{source}/data: cannot be read: Input/output error"):
        release.read(stack_of(source), "web")


def test_a_wrong_project_is_reported_with_the_packages_that_have_an_application(source: Path) -> None:
    (source / "site_").rename(source / "shop")
    with pytest.raises(InventoryError, match=r"no site_/wsgi.py: .*services.web.project names the package, here shop"):
        release.read(stack_of(source), "web")


def test_the_default_application_is_read_quickly() -> None:
    stack = inventories.load(Path(__file__).parents[3] / "hosts.yaml")
    release.read(stack, "web")
    spent = []
    for _ in range(5):
        began = time.thread_time()
        release.read(stack, "web")
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.02
