"""Standalone builds of Python, which uv downloads to this machine and which travel to the hosts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from plainstack import state_folder
from plainstack.errors import PlainstackError

# The name of the archive in a payload.
ARCHIVE = "python.tar.gz"
_SECONDS = 1800
_TAIL = 6
# The folder of an installation, such as cpython-3.12.7-linux-x86_64-gnu; uv also makes a link without the patch number.
_INSTALLED = re.compile(r"cpython-(\d+\.\d+\.\d+)-.*")
_UNKNOWN = re.compile(r"No download found|Invalid version|not a valid Python")


def archive(choice: str, arch: str, cache: Path, report: Callable[[str], None], version: str = "") -> Path:
    """Return the archive of a Python for Linux, from the cache or from where uv downloads it.

    `choice` is a version as in the inventory, 3.12 or 3.12.7; `arch` is a machine type as in `uname -m`. `version` is
    the full version to take for a choice without a patch number; by default, the one taken before, or else the newest
    that uv knows. uv verifies the archive by its hash. Raises PlainstackError if uv cannot download it.
    """
    folder = cache / "pythons"
    taken = folder / f"{choice}-{arch}.version"
    version = version or (taken.read_text(encoding="utf-8").strip() if taken.is_file() else "")
    found = folder / f"cpython-{version}-{arch}.tar.gz"
    if not version or not found.is_file():
        report(f"downloading Python {version or choice} for {arch} with uv")
        state_folder.make(folder)
        found = _fetched(version or choice, arch, folder)
    taken.write_text(found.name.split("-")[1], encoding="utf-8")
    return found


def newest(versions: Iterable[str]) -> str:
    """Return the newest of the full versions; empty if there are none."""
    whole = [each for each in versions if re.fullmatch(r"\d+\.\d+\.\d+", each)]
    return max(whole, key=lambda each: [int(part) for part in each.split(".")], default="")


def _fetched(version: str, arch: str, folder: Path) -> Path:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise PlainstackError(
            f'python: "{version}" is downloaded with uv, which this machine does not have. Install it (pip install uv),'
            " or set `python` to the path of a Python on the hosts"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as scratch:
        installed, kept = Path(scratch, "installed"), Path(scratch, "archives")
        command = [uv, "python", "install", "--no-bin", "--no-progress", "--color=never", f"--install-dir={installed}"]
        try:
            done = subprocess.run(
                [*command, f"cpython-{version}-linux-{arch}-gnu"],
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "UV_PYTHON_CACHE_DIR": str(kept)},
            )
        except subprocess.TimeoutExpired:
            raise PlainstackError(f'python: "{version}": uv did not download it within {_SECONDS} s') from None
        except OSError as error:
            raise PlainstackError(f'python: "{version}": {uv} cannot be run: {error.strerror}') from None
        if done.returncode != 0:
            raise PlainstackError(_why(version, arch, done.stderr or done.stdout))
        names = [_INSTALLED.fullmatch(each.name) for each in installed.iterdir()] if installed.is_dir() else []
        versions = {match[1] for match in names if match}
        archives = sorted(kept.glob("*.tar.gz")) if kept.is_dir() else []
        if len(versions) != 1 or len(archives) != 1:
            raise PlainstackError(f'python: "{version}": this uv keeps no .tar.gz of what it downloads. Update uv')
        target = folder / f"cpython-{versions.pop()}-{arch}.tar.gz"
        archives[0].replace(target)
    return target


def _why(version: str, arch: str, said: str) -> str:
    if _UNKNOWN.search(said):
        return (
            f'python: "{version}": uv knows no such Python for Linux on {arch}. Choose another version (uv python list'
            " --all-versions), or update uv"
        )
    last = [line.rstrip() for line in said.splitlines() if line.strip()][-_TAIL:]
    how = "To use a mirror, set UV_PYTHON_INSTALL_MIRROR"
    return "\n".join(
        [f'python: "{version}": uv cannot download it for Linux on {arch}. {how}', *(f"    {line}" for line in last)]
    )
