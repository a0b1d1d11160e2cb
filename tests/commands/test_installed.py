"""Plainstack as a package: built, installed into an environment of its own, and used outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from plainstack.shipped import ROOT
from tests.waiting import PATIENCE

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".plainstack", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "reports", "tests"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build leaves its own folders beside what it builds.
    source = shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(pip, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it; what it depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    (packages / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    for name, module in (("inv", "invoke"), ("fab", "fabric")):
        program = folder / "bin" / name
        program.write_text(
            f"#!{folder}/bin/python\nimport sys\nfrom {module}.main import program\nsys.exit(program.run())\n",
            encoding="utf-8",
        )
        program.chmod(0o755)
    return folder / "bin"


@pytest.fixture(scope="module")
def shop(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere") / "shop"
    done = run(programs, folder.parent, "plainstack", "init", "shop")
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def run(programs: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    line = [str(programs / words[0]), *words[1:]]
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_the_wheel_holds_every_template_file_check_and_script(wheel: Path) -> None:
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
def test_without_its_lab_a_new_stack_says_how_to_bring_it_up(programs: Path, shop: Path, words: str) -> None:
    done = run(programs, shop, *words.split())
    assert done.returncode == 1
    assert "inv lab.up" in done.stdout + done.stderr
