"""What makes a release another one, what stays at home, and what a source must have."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plainstack import inventory, release, wheels
from plainstack.errors import InventoryError, PlainstackError
from plainstack.resources import Payload
from plainstack.stack import Stack

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
    return inventory.parse(TEXT, "test.yaml", source.parent)


def _id(source: Path) -> str:
    return release.read(_stack(source), "web").id


def _sent(source: Path) -> set[str]:
    return {name.removeprefix("source/") for name, _ in release.read(_stack(source), "web").source.files}


def test_the_same_content_is_the_same_release_wherever_and_whenever_it_was_written(source: Path) -> None:
    before = _id(source)
    (source / "manage.py").write_text("pass\n")
    assert _id(source.rename(source.parent / "other").rename(source)) == before


@pytest.mark.parametrize("change", ["content", "new file", "renamed", "executable", "requirements"])
def test_any_change_is_another_release(source: Path, change: str) -> None:
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


def test_secrets_and_left_overs_of_a_developer_stay_at_home(source: Path) -> None:
    wanted, before = _sent(source), _id(source)
    for name in (".env", ".git/config", "site_/__pycache__/wsgi.cpython-313.pyc", "db.sqlite3", "a.pyc", "venv/x"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("SECRET")
    assert _sent(source) == wanted == {"manage.py", "requirements.txt", "site_/wsgi.py"}
    assert _id(source) == before


def test_executable_files_are_named_because_a_payload_has_no_modes(source: Path) -> None:
    (source / "manage.py").chmod(0o755)
    assert release.read(_stack(source), "web").source.executables == ("manage.py",)


@pytest.mark.parametrize("file", ["requirements.txt", "manage.py", "site_/wsgi.py"])
def test_a_source_without_what_a_release_needs_is_refused(source: Path, file: str) -> None:
    (source / file).unlink()
    with pytest.raises(InventoryError, match=f"services.web.source: .* has no {file}"):
        release.read(_stack(source), "web")


def test_what_is_neither_file_nor_folder_is_refused_and_not_left_out_in_silence(source: Path) -> None:
    (source / "gone").symlink_to("nowhere")
    with pytest.raises(InventoryError, match="gone: a release can hold files and folders"):
        release.read(_stack(source), "web")


def test_a_name_that_is_not_utf_8_is_told(source: Path) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.txt")).touch()
    with pytest.raises(InventoryError, match=r"src/caf\\xe9.txt: the name is not UTF-8; rename it"):
        release.read(_stack(source), "web")


def test_a_file_that_cannot_be_read_is_named(source: Path) -> None:
    # Modes do not bind root, but nobody can read this one from its beginning.
    (source / "data").symlink_to("/proc/self/mem")
    with pytest.raises(InventoryError, match=f"^{source}/data: cannot be read: Input/output error"):
        release.read(_stack(source), "web")


def test_the_default_application_is_read_in_a_moment() -> None:
    stack = inventory.load(Path(__file__).parents[2] / "hosts.yaml")
    release.read(stack, "web")
    spent = []
    for _ in range(5):
        began = time.process_time()
        release.read(stack, "web")
        spent.append(time.process_time() - began)
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


def test_the_lock_is_read_as_the_hosts_see_it_and_not_as_this_machine_does() -> None:
    assert wheels.for_target(LOCK, "3.13", "x86_64") == (
        "django==5.2.1 --hash=sha256:aa --hash=sha256:bb\nuvloop==0.2 --hash=sha256:ee\n"
    )
    assert "uvloop" not in wheels.for_target(LOCK, "3.13", "aarch64")
    assert "typing-extensions==4.1 --hash" in wheels.for_target(LOCK, "3.11", "x86_64")


class _Pip:
    """Stands for pip: writes a wheel, or fails as pip does."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        (dest,) = [word.removeprefix("--dest=") for word in command if word.startswith("--dest=")]
        if self.code == 0:
            Path(dest, "a-1-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, self.code, "", "ERROR: no matching distribution\n")


def test_wheels_are_fetched_once_and_travel_beside_the_files(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = _Pip()
    monkeypatch.setattr(subprocess, "run", pip)
    payload = release.read(_stack(source), "web").wheels
    told: list[str] = []
    for _ in range(2):
        found = dict(wheels.resolve(payload, tmp_path / "cache", told.append))
        assert found["wheels/a-1-py3-none-any.whl"] == b"wheel"
        assert found["requirements.txt"] == (source / "requirements.txt").read_bytes()
    assert len(pip.commands) == len(told) == 1
    assert pip.commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--require-hashes", "--only-binary=:all:", "--python-version=3.13"} <= set(pip.commands[0])
    assert "--platform=manylinux_2_34_x86_64" in pip.commands[0]


def test_a_failed_fetch_says_what_pip_said_and_leaves_nothing_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", _Pip(code=1))
    with pytest.raises(PlainstackError, match=r"(?s)requirements.txt: pip cannot fetch.*no matching distribution"):
        wheels.resolve(release.read(_stack(source), "web").wheels, tmp_path / "cache", lambda _: None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named_with_what_to_do(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(PlainstackError, match=r"requirements.txt cannot be kept in .*cache on this machine: .*room"):
        wheels.resolve(release.read(_stack(source), "web").wheels, tmp_path / "cache", lambda _: None)


def test_a_file_that_vanished_since_the_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlainstackError, match="gone: cannot be read"):
        wheels.resolve(Payload(files=(("x", str(tmp_path / "gone")),)), tmp_path, lambda _: None)


@pytest.mark.parametrize("change", ["content", "requirements"])
def test_a_source_that_changed_since_the_plan_does_not_travel_under_the_old_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(subprocess, "run", _Pip())
    here = release.read(_stack(source), "web")
    if change == "content":
        (source / "manage.py").write_text("new!\n")
    else:
        (source / "requirements.txt").write_text("django==5.2 --hash=sha256:11\n")
    payload = here.wheels if change == "requirements" else here.source
    with pytest.raises(PlainstackError, match=r"src.*: was changed since the plan was made; deploy again"):
        wheels.resolve(payload, tmp_path / "cache", lambda _: None)


def test_a_source_that_was_only_saved_again_travels(source: Path, tmp_path: Path) -> None:
    here = release.read(_stack(source), "web")
    (source / "manage.py").write_text("pass\n")
    (source / "new.py").write_text("written after the plan\n")
    found = dict(wheels.resolve(here.source, tmp_path, lambda _: None))
    assert found["source/manage.py"] == b"pass\n"
    assert set(found) == {"source/manage.py", "source/requirements.txt", "source/site_/wsgi.py"}
