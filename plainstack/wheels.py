"""The operator's side of a payload: wheels chosen for the hosts, not for this machine, fetched once for each lock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from plainstack.errors import PlainstackError
from plainstack.release import PYTHON, digest
from plainstack.resources import Payload

Report = Callable[[str], None]
# Debian 13 has glibc 2.41: it runs wheels made for any glibc up to that. pip does not infer the older tags.
_GLIBC_MINORS = range(5, 42)


def resolve(payload: Payload, cache: Path, report: Report, arch: str = "x86_64") -> list[tuple[str, bytes]]:
    """The names and bytes that travel to a host of architecture `arch` (as `uname -m` says it).

    Raises PlainstackError when a file or a wheel cannot be had, or a file is not what it was when the plan was made.
    """
    try:
        found = [(name, Path(path).read_bytes()) for name, path in payload.files]
    except OSError as error:
        raise PlainstackError(f"{error.filename}: cannot be read any more: {error.strerror}; deploy again") from None
    if payload.digest and digest(found, payload.executables) != payload.digest:
        changed = os.path.commonpath([path for _, path in payload.files])
        raise PlainstackError(f"{changed}: was changed since the plan was made; deploy again")
    if payload.requirements:
        lock, path = dict(found)[payload.requirements], dict(payload.files)[payload.requirements]
        try:
            wheels = wheelhouse(lock, path, cache, report, arch=arch)
            found += [(f"wheels/{wheel.name}", wheel.read_bytes()) for wheel in wheels]
        except OSError as error:
            raise PlainstackError(
                f"the wheels of {path} cannot be kept in {cache} on this machine: {error.strerror}"
                f" ({error.filename or cache}); make room or make it writable, and deploy again"
            ) from None
    return found


def wheelhouse(
    lock: bytes, path: str, cache: Path, report: Report, python_version: str = PYTHON, arch: str = "x86_64"
) -> list[Path]:
    """The wheels of a locked requirements file, from the cache or from the package index this machine's pip uses."""
    try:
        wanted = for_target(lock.decode().replace("\r\n", "\n"), python_version, arch)
    except UnicodeDecodeError:
        raise PlainstackError(f"{path}: is not text in UTF-8; make the lock again and deploy") from None
    folder = cache / sha256(f"{python_version} {arch}\n{wanted}".encode()).hexdigest()[:16]
    if not folder.is_dir():
        report(f"fetching the wheels of {path}")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as scratch:
            _download(wanted, Path(scratch), path, python_version, arch)
            try:
                Path(scratch, "wheels").rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was faster, and what it fetched has the same hashes
                    raise
    return sorted(folder.glob("*.whl"))


def for_target(lock: str, python_version: str, arch: str) -> str:
    """The lock as the hosts see it: pip would judge markers such as sys_platform by this machine."""
    from packaging.markers import InvalidMarker, Marker

    host = {
        "implementation_name": "cpython",
        "implementation_version": f"{python_version}.0",
        "os_name": "posix",
        "platform_machine": arch,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python_version}.0",
        "python_version": python_version,
        "sys_platform": "linux",
        "extra": "",
    }
    kept = []
    for line in _logical_lines(lock):
        requirement, _, options = line.partition(" --hash")
        name, separator, marker = requirement.partition(";")
        try:
            if separator and not Marker(marker).evaluate(host):
                continue
        except InvalidMarker:
            raise PlainstackError(f"{line[:80]}: the marker after ';' is not valid") from None
        kept.append(f"{name.strip()} --hash{options}" if options else name.strip())
    return "".join(f"{line}\n" for line in kept)


def _logical_lines(lock: str) -> Iterator[str]:
    for line in re.sub(r"\\\n", " ", lock).splitlines():
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        if text:
            yield re.sub(r"\s+", " ", text)


def _download(wanted: str, scratch: Path, requirements: str, python_version: str, arch: str) -> None:
    lock = scratch / "requirements.txt"
    lock.write_text(wanted, encoding="utf-8")
    # What the lock names is all there is; pip would look for more by this machine's markers.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={python_version}"]
    command += [f"--platform=manylinux_2_{minor}_{arch}" for minor in reversed(_GLIBC_MINORS)]
    if arch == "x86_64":
        command += [f"--platform=manylinux{year}_x86_64" for year in ("2014", "2010", "1")]
    command += [f"--dest={scratch / 'wheels'}", f"--requirement={lock}"]
    (scratch / "wheels").mkdir()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-6:]
        told = "\n".join(f"    {line}" for line in said)
        raise PlainstackError(
            f"{requirements}: pip cannot fetch its wheels for Python {python_version} on {arch}\n{told}"
        )
