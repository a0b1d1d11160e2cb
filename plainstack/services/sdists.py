"""Builds wheels on this machine for requirements that the package index has only as source."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from plainstack.errors import PlainstackError
from plainstack.services.requirements import Requirement

# Debian 13 has glibc 2.41: it runs what was compiled for any glibc up to that.
GLIBC_MINOR = 41
_SECONDS = 1800
_TAIL = 8
_NO_SOURCE = re.compile(r"No matching distribution found for ")


class NoSource(PlainstackError):
    """The package index has neither a wheel nor the source of this version."""


def built(
    wanted: Requirement,
    options: Sequence[str],
    cache: Path,
    python_version: str,
    arch: str,
    report: Callable[[str], None],
) -> Path:
    """Return the wheel of a requirement, built from its source on this machine, once for each source.

    pip compares the source with the hashes of the lock. Raises NoSource, or PlainstackError if the source cannot be
    built or the wheel would not run on the hosts.
    """
    key = sha256(f"{python_version} {arch}\n{wanted.locked}".encode()).hexdigest()[:16]
    folder = cache / "built" / key
    if found := sorted(folder.glob("*.whl")):
        return found[0]
    report(
        f"building the wheel of {wanted.name}=={wanted.version} from its source on this machine, if the index has it"
    )
    interpreter = _interpreter(python_version)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as scratch:
        made = Path(scratch, "made")
        wheel = _build(wanted, options, made, interpreter)
        if problem := unsuitable(wheel.name, python_version, arch, _version(interpreter)):
            raise PlainstackError(problem)
        if not wheel.name.endswith("-any.whl"):
            report(f"{wheel.name} contains compiled code: name the libraries that it uses in the service's `packages`")
        folder.parent.mkdir(exist_ok=True)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another run has already built it
                raise
    return sorted(folder.glob("*.whl"))[0]


def host_line(wanted: Requirement, wheel: Path) -> str:
    """Return the requirement as hosts install it: with the hash of the wheel that was built."""
    return f"{wanted.text.partition(';')[0].strip()} --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}"


def unsuitable(wheel: str, python_version: str, arch: str, built_with: str) -> str:
    """Return why hosts cannot use a wheel that was built with a Python version on this machine; empty if they can."""
    *_, python, abi, machine = wheel.removesuffix(".whl").split("-")
    if machine == "any" and abi == "none" and python.startswith("py"):
        return ""
    needs = f"it contains compiled code, so only a Linux machine with {arch}, Python {python_version} and glibc"
    needs += f" 2.{GLIBC_MINOR} or older can build it"
    for_python = built_with if python.startswith("cp") and abi != "abi3" else python_version
    libc, version = platform.libc_ver()
    here = f"this one has {platform.machine()}, Python {built_with} and {libc or 'an unknown libc'} {version}".strip()
    minor = re.match(r"2\.(\d+)", version) if libc == "glibc" else None
    fits = machine == "any" or (platform.machine() == arch and minor is not None and int(minor[1]) <= GLIBC_MINOR)
    return "" if fits and for_python == python_version else f"{needs}; {here}"


def _interpreter(python_version: str) -> str:
    """Return this machine's Python of a version, or the one that runs Plainstack, which can build pure Python."""
    if _own() == python_version:
        return sys.executable
    found = shutil.which(f"python{python_version}")
    # A shim may be in PATH without the version behind it.
    return found if found and _version(found) == python_version else sys.executable


def _own() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _version(interpreter: str) -> str:
    if interpreter == sys.executable:
        return _own()
    ask = [interpreter, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _build(wanted: Requirement, options: Sequence[str], made: Path, interpreter: str) -> Path:
    lock = made.parent / "requirements.txt"
    lock.write_text("".join(f"{line}\n" for line in (*options, wanted.locked)), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    if interpreter != sys.executable:
        command.append(f"--python={interpreter}")
    # The hosts' Python counts, not this machine's.
    command += ["wheel", "--quiet", "--no-deps", "--require-hashes", "--ignore-requires-python"]
    command += [f"--no-binary={wanted.name}", f"--wheel-dir={made}", f"--requirement={lock}"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
    except subprocess.TimeoutExpired:
        raise PlainstackError(f"its source was not built within {_SECONDS} s") from None
    said = done.stdout + done.stderr
    wheels = sorted(made.glob("*.whl")) if made.is_dir() else []
    if done.returncode == 0 and wheels:
        return wheels[0]
    if _NO_SOURCE.search(said):
        raise NoSource("no source")
    last = [line for line in said.splitlines() if line.strip() and "[notice]" not in line][-_TAIL:]
    why = f"its source could not be built with Python {_version(interpreter)} on this machine:"
    raise PlainstackError("\n".join([why, *(f"    {line}" for line in last)]))
