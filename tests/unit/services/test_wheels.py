"""What a release sends to the hosts: the wheels of its requirements, and its files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from plainstack.engine.resources import Payload
from plainstack.errors import PlainstackError
from plainstack.services import release, wheels
from tests.unit.services.small_source import stack_of, write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path)


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
    payload = release.read(stack_of(source), "web").wheels
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
        wheels.resolve(release.read(stack_of(source), "web").wheels, tmp_path / "cache", lambda _: None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unwritable_cache_is_reported_with_a_remedy(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(PlainstackError, match=r"requirements.txt cannot be kept in .*cache on this machine: .*room"):
        wheels.resolve(release.read(stack_of(source), "web").wheels, tmp_path / "cache", lambda _: None)


def test_the_error_names_a_file_that_vanished_since_the_plan(tmp_path: Path) -> None:
    with pytest.raises(PlainstackError, match="gone: can no longer be read"):
        wheels.resolve(Payload(files=(("x", str(tmp_path / "gone")),)), tmp_path, lambda _: None)


@pytest.mark.parametrize("change", ["content", "requirements"])
def test_a_source_that_changed_since_the_plan_is_not_sent_under_the_old_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(subprocess, "run", _Pip())
    here = release.read(stack_of(source), "web")
    if change == "content":
        (source / "manage.py").write_text("new!\n")
    else:
        (source / "requirements.txt").write_text("django==5.2 --hash=sha256:11\n")
    payload = here.wheels if change == "requirements" else here.source
    with pytest.raises(PlainstackError, match=r"src.*: has changed since the plan was made. Deploy again"):
        wheels.resolve(payload, tmp_path / "cache", lambda _: None)


def test_a_source_that_was_saved_again_unchanged_is_sent(source: Path, tmp_path: Path) -> None:
    here = release.read(stack_of(source), "web")
    (source / "manage.py").write_text("pass\n")
    (source / "new.py").write_text("written after the plan\n")
    found = dict(wheels.resolve(here.source, tmp_path, lambda _: None))
    assert found["source/manage.py"] == b"pass\n"
    assert set(found) == {"source/manage.py", "source/requirements.txt", "source/site_/wsgi.py"}
