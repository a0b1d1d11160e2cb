"""Build Plainstack's wheel, and install it into an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from plainstack.shipped import ROOT

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".plainstack", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "reports", "tests"
)


def build(folder: Path) -> Path:
    """Build the wheel of this checkout in `folder` and return its path; `folder/source` has the sources."""
    # Build from a copy, because a build leaves folders of its own beside the sources.
    source = shutil.copytree(ROOT, folder / "source", ignore=_LEFT_OUT)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(pip, check=True)
    return next(folder.glob("*.whl"))


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel in a new environment that borrows this one's dependencies; return its folder of programs."""
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


def environment() -> dict[str, str]:
    """Return the environment variables without those of Python, through which a program could find this checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
