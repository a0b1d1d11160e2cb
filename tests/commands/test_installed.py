"""Plainstack as a package: built, installed into an environment of its own, and used outside the checkout."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.installed import build, environment, install
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def shop(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere") / "shop"
    # This machine may have a lab called shop: that of `make demo`.
    done = run(programs, folder.parent, "plainstack", "init", "shop", "--name=test-of-init")
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def run(programs: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [str(programs / words[0]), *words[1:]]
    return subprocess.run(
        line, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_the_wheel_contains_every_template_file_check_and_script(wheel: Path) -> None:
    kept = wheel.parent / "source"
    listed = [
        str(path.relative_to(kept))
        for folder in ("plainstack", "templates", "files", "checks")
        for path in (kept / folder).rglob("*")
        if path.is_file()
    ]
    assert len(listed) > 200
    wanted = {path if path.startswith("plainstack/") else f"plainstack/_shipped/{path}" for path in listed}
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_installed_package_is_the_one_that_runs(programs: Path, shop: Path) -> None:
    done = run(programs, shop, "python", "-c", "import plainstack.shipped as s; print(s.ROOT)")
    assert Path(done.stdout.strip()).is_relative_to(programs.parent)
    assert run(programs, shop, "plainstack", "--version").stdout.startswith("plainstack ")


@pytest.mark.parametrize("words", ["inv --list", "inv inventory.show", "inv secrets.list", "fab --list"])
def test_commands_work_in_a_new_stack(programs: Path, shop: Path, words: str) -> None:
    done = run(programs, shop, *words.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("words", ["inv plan", "inv deploy", "inv verify", "fab failover status"])
def test_a_new_stack_whose_lab_is_down_says_how_to_bring_it_up(programs: Path, shop: Path, words: str) -> None:
    done = run(programs, shop, *words.split())
    assert done.returncode == 1
    assert "inv lab.up" in done.stdout + done.stderr
