"""What makes a new release, which files are left out, and what a source must contain."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from plainstack.cli.report import as_data, plan_lines
from plainstack.engine.plan.actions import HostPlan, Run, Transaction
from plainstack.engine.resources import Command, Payload
from plainstack.errors import InventoryError, PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.services import release, wheels
from tests import inventories

TEXT = """
stack: small
hosts: {h: {address: 10.0.0.1, roles: [app, db]}}
services: {web: {source: src, project: site_}}
database: {name: shop}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    (folder / "site_").mkdir(parents=True)
    (folder / "site_" / "wsgi.py").write_text("application = None\n")
    (folder / "manage.py").write_text("pass\n")
    (folder / "requirements.txt").write_text("django==5.2 --hash=sha256:00\n")
    return folder


def _stack(source: Path) -> Stack:
    return inventories.parse(TEXT, "test.yaml", source.parent)


def _id(source: Path) -> str:
    return release.read(_stack(source), "web").id


def _sent(source: Path) -> set[str]:
    return {name.removeprefix("source/") for name, _ in release.read(_stack(source), "web").source.files}


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
    before = release.read(_stack(source), "web").venv
    (source / "manage.py").write_text("pass # changed\n")
    assert release.read(_stack(source), "web").venv == before
    (source / "requirements.txt").write_text("django==5.3 --hash=sha256:00\n")
    assert release.read(_stack(source), "web").venv != before


def test_secrets_and_leftovers_of_a_developer_are_left_out_and_named(source: Path) -> None:
    wanted, before = _sent(source), _id(source)
    left = (".env", ".git/config", "site_/__pycache__/wsgi.cpython-313.pyc", "db.sqlite3", "a.pyc", "venv/x")
    for name in (*left, ".gitkeep", "site_/.gitkeep", "node_modules/x"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("SECRET")
    assert _sent(source) == wanted == {"manage.py", "requirements.txt", "site_/wsgi.py"}
    assert _id(source) == before
    stays = release.read(_stack(source), "web").source.stays
    assert stays == (".env", ".git/", ".gitkeep", "db.sqlite3", "node_modules/", "site_/.gitkeep", "venv/")


def test_a_plan_lists_once_what_a_release_leaves_out(source: Path) -> None:
    (source / ".env").touch()
    here = release.read(_stack(source), "web").source
    run = Run(Command(name="web: release", why="put it in place", run="true", unless="false", payload=here))
    one = HostPlan("app1", None, (Transaction("app", (run,)),))
    plans = {"app1": one, "app2": replace(one, host="app2")}
    assert [line.strip() for line in plan_lines(plans, {})].count("not part of it: .env") == 1
    assert as_data(plans)["app2"][0]["stays"] == (".env",)


def test_a_plan_names_the_first_files_that_a_release_leaves_out_and_a_verbose_one_all(source: Path) -> None:
    names = [f".hidden{number:02}" for number in range(15)]
    for name in (*names, "site_/.hidden00"):
        (source / name).touch()
    here = release.read(_stack(source), "web").source
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
    assert any(stay.startswith(name) for stay in release.read(_stack(source), "web").source.stays)


def test_a_source_that_is_itself_a_virtual_environment_is_refused(source: Path) -> None:
    (source / "pyvenv.cfg").touch()
    with pytest.raises(InventoryError, match=r"src: is itself a Python environment\. Create the environment in its"):
        release.read(_stack(source), "web")


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
        release.read(_stack(source), "web")


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
        release.read(_stack(source), "web")


def test_sockets_and_pipes_are_left_out_and_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _sent(source)
    # The path of a socket is limited to 107 characters, so a relative one is used.
    monkeypatch.chdir(source)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("run.sock")
        os.mkfifo(source / "pipe")
        assert _sent(source) == wanted
        assert release.read(_stack(source), "web").source.stays == ("pipe (a pipe)", "run.sock (a socket)")


def test_executable_files_are_named_because_a_release_does_not_keep_modes(source: Path) -> None:
    (source / "manage.py").chmod(0o755)
    assert release.read(_stack(source), "web").source.executables == ("manage.py",)


@pytest.mark.parametrize("file", ["requirements.txt", "manage.py", "site_/wsgi.py"])
def test_a_source_that_lacks_required_files_is_refused(source: Path, file: str) -> None:
    (source / file).unlink()
    with pytest.raises(InventoryError, match=f"services.web.source: .* has no {file}"):
        release.read(_stack(source), "web")


def test_a_name_that_is_not_valid_utf_8_is_reported(source: Path) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.txt")).touch()
    with pytest.raises(InventoryError, match=r"src/caf\\xe9.txt: the name is not UTF-8. Rename it"):
        release.read(_stack(source), "web")


def test_the_error_names_an_unreadable_file(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "data").touch()

    def fails(path: str, mode: str) -> IO[bytes]:
        if path.endswith("/data"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return Path(path).open(mode)

    monkeypatch.setattr("plainstack.services.digests.open", fails, raising=False)
    with pytest.raises(InventoryError, match=f"^{source}/data: cannot be read: Input/output error"):
        release.read(_stack(source), "web")


def test_a_wrong_project_is_reported_with_the_packages_that_have_an_application(source: Path) -> None:
    (source / "site_").rename(source / "shop")
    with pytest.raises(InventoryError, match=r"no site_/wsgi.py: .*services.web.project names the package, here shop"):
        release.read(_stack(source), "web")


def test_the_default_application_is_read_quickly() -> None:
    stack = inventories.load(Path(__file__).parents[3] / "hosts.yaml")
    release.read(stack, "web")
    spent = []
    for _ in range(5):
        began = time.thread_time()
        release.read(stack, "web")
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.02


LOCK = """\
# a comment
django==5.2.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via -r requirements.in
typing-extensions==4.1 ; python_full_version < '3.13' --hash=sha256:cc
tzdata==2026.1 ; sys_platform == 'win32' --hash=sha256:dd
uvloop==0.2 ; sys_platform != 'win32' and platform_machine == 'x86_64' --hash=sha256:ee
"""


def test_environment_markers_of_the_lock_are_evaluated_for_the_hosts() -> None:
    assert wheels.for_target(LOCK.encode(), "r.txt", "3.13", "x86_64") == (
        "django==5.2.1 --hash=sha256:aa --hash=sha256:bb\nuvloop==0.2 --hash=sha256:ee\n"
    )
    assert "uvloop" not in wheels.for_target(LOCK.encode(), "r.txt", "3.13", "aarch64")
    assert "typing-extensions==4.1 --hash" in wheels.for_target(LOCK.encode(), "r.txt", "3.11", "x86_64")


class _Pip:
    """A stand-in for pip: writes a wheel, or fails as pip does."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        (dest,) = [word.removeprefix("--dest=") for word in command if word.startswith("--dest=")]
        if self.code == 0:
            Path(dest, "a-1-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, self.code, "", "ERROR: no matching distribution\n")


def test_wheels_are_fetched_once_and_sent_with_the_files(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = _Pip()
    monkeypatch.setattr(subprocess, "run", pip)
    payload = release.read(_stack(source), "web").wheels
    reported: list[str] = []
    for _ in range(2):
        found = dict(wheels.resolve(payload, tmp_path / "cache", reported.append))
        assert found["wheels/a-1-py3-none-any.whl"] == b"wheel"
        assert found["requirements.txt"] == b"django==5.2 --hash=sha256:00\n"
    assert len(pip.commands) == len(reported) == 1
    assert pip.commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--require-hashes", "--only-binary=:all:", "--python-version=3.13"} <= set(pip.commands[0])
    assert "--platform=manylinux_2_34_x86_64" in pip.commands[0]


def test_a_failed_fetch_shows_the_output_of_pip_and_leaves_nothing_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", _Pip(code=1))
    with pytest.raises(PlainstackError, match=r"(?s)requirements.txt: pip cannot download.*no matching distribution"):
        wheels.resolve(release.read(_stack(source), "web").wheels, tmp_path / "cache", lambda _: None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unwritable_cache_is_reported_with_a_remedy(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(PlainstackError, match=r"requirements.txt cannot be kept in .*cache on this machine: .*room"):
        wheels.resolve(release.read(_stack(source), "web").wheels, tmp_path / "cache", lambda _: None)


def test_the_error_names_a_file_that_vanished_since_the_plan(tmp_path: Path) -> None:
    with pytest.raises(PlainstackError, match="gone: can no longer be read"):
        wheels.resolve(Payload(files=(("x", str(tmp_path / "gone")),)), tmp_path, lambda _: None)


@pytest.mark.parametrize("change", ["content", "requirements"])
def test_a_source_that_changed_since_the_plan_is_not_sent_under_the_old_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(subprocess, "run", _Pip())
    here = release.read(_stack(source), "web")
    if change == "content":
        (source / "manage.py").write_text("new!\n")
    else:
        (source / "requirements.txt").write_text("django==5.2 --hash=sha256:11\n")
    payload = here.wheels if change == "requirements" else here.source
    with pytest.raises(PlainstackError, match=r"src.*: has changed since the plan was made. Deploy again"):
        wheels.resolve(payload, tmp_path / "cache", lambda _: None)


def test_a_source_that_was_saved_again_unchanged_is_sent(source: Path, tmp_path: Path) -> None:
    here = release.read(_stack(source), "web")
    (source / "manage.py").write_text("pass\n")
    (source / "new.py").write_text("written after the plan\n")
    found = dict(wheels.resolve(here.source, tmp_path, lambda _: None))
    assert found["source/manage.py"] == b"pass\n"
    assert set(found) == {"source/manage.py", "source/requirements.txt", "source/site_/wsgi.py"}
