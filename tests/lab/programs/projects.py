"""Projects as their authors' tools make them, from packages of the index: started once, and kept for the next run."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import labs

CACHE = labs.FOLDER / "programs"
PYTHON = "3.13"
TOOLS = ("uv", "wagtail", "bugsink")
SECONDS = 300


def tool(name: str) -> str:
    """Return the path of a program that starts projects or makes locks; install it before its first use."""
    programs = CACHE / "tools/bin"
    complete = CACHE / f"tools/{'-'.join(TOOLS)}"
    if not complete.exists():
        shutil.rmtree(programs.parent, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(programs.parent))
        _run(str(programs / "pip"), "install", "--quiet", *TOOLS)
        complete.touch()
    return str(programs / name)


def start(folder: Path, program: str, *words: str, inside: str = "") -> None:
    """Make a project in a folder, such as with `django-admin startproject shop`; or a file `inside` the folder."""
    folder.mkdir(exist_ok=True)
    _run(tool(program), *words, str(folder / inside))


def lock(folder: Path, *requirements: str) -> None:
    """Write requirements.in, and its lock with hashes, for the hosts' Python."""
    text = "".join(f"{each}\n" for each in requirements)
    (folder / "requirements.in").write_text(text)
    kept = CACHE / f"lock-{hashlib.sha256(text.encode()).hexdigest()[:12]}.txt"
    if not kept.exists():
        uv = (tool("uv"), "pip", "compile", "--quiet", "--generate-hashes", "--python-version", PYTHON)
        _run(*uv, str(folder / "requirements.in"), "-o", str(kept))
    shutil.copy(kept, folder / "requirements.txt")


def edit(file: Path, *changes: tuple[str, str]) -> None:
    """Replace what each pattern matches; each must match."""
    text = file.read_text()
    for pattern, new in changes:
        text, count = re.subn(pattern, new.replace("\\", "\\\\"), text, count=1, flags=re.S | re.M)
        assert count, f"{file}: nothing matches {pattern}"
    file.write_text(text)


def _run(*words: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(words, cwd=CACHE, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(words)} failed; is the package index reachable?\n{done.stderr[-2000:]}", pytrace=False)
