"""The wheels of a payload: chosen for the hosts, not for this machine, and downloaded to this machine once per lock."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from plainstack import state_folder
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Run
from plainstack.engine.resources import Payload
from plainstack.errors import PlainstackError
from plainstack.services import requirements, sdists, standalone, wheel_metadata
from plainstack.services.kinds import PYTHON
from plainstack.services.release import digest
from plainstack.services.requirements import Requirement

Report = Callable[[str], None]
# Debian 13 has glibc 2.41 and runs wheels built for any glibc up to that. pip does not infer the older tags.
_GLIBC_MINORS = range(5, sdists.GLIBC_MINOR + 1)
# pip stops at the first requirement without a wheel. Run it again until this many are found.
_MISSING_NAMED = 10
# A file in a folder of wheels: the lines of the lock whose hash differs on hosts, because this machine built the wheel.
_BUILT = "built.json"
_UNREACHED = re.compile(r"connection broken|Could not fetch URL|name resolution|timed out", re.I)


def unfetched(
    plans: Mapping[str, HostPlan], observed: Mapping[str, Observed], cache: Path, report: Report
) -> list[str]:
    """Download the wheels and Pythons that plans need, each once; return messages about those that are unavailable."""
    wanted: dict[tuple[Payload, str], None] = {}
    for name, plan in plans.items():
        for _, action in plan.actions():
            payload = action.command.payload if isinstance(action, Run) else None
            if payload and (payload.requirements or payload.interpreter):
                wanted[payload, architecture(observed[name])] = None
    problems: dict[str, None] = {}
    for payload, arch in wanted:
        try:
            if payload.interpreter:
                standalone.archive(payload.interpreter, arch, cache, report, _installed(payload.interpreter, observed))
            resolve(payload, cache, report, arch)
        except PlainstackError as error:
            problems[str(error)] = None
    return list(problems)


def _installed(choice: str, observed: Mapping[str, Observed]) -> str:
    """Return the newest version that hosts already have for a choice, so that all of them get the same one."""
    return standalone.newest(seen.facts.get(f"python.{choice}", "") for seen in observed.values())


def architecture(seen: Observed) -> str:
    """Return a host's machine type (uname -m), which decides its wheels."""
    return seen.facts.get("arch") or "x86_64"


def resolve(payload: Payload, cache: Path, report: Report, arch: str = "x86_64") -> list[tuple[str, bytes]]:
    """Return the names and contents of the files to send to a host of architecture `arch` (as in `uname -m`).

    Raises PlainstackError if a file or a wheel is unavailable, or if a file has changed since the plan was made.
    """
    try:
        found = [(name, Path(path).read_bytes()) for name, path in payload.files]
    except OSError as error:
        raise PlainstackError(f"{error.filename}: can no longer be read: {error.strerror}. Deploy again") from None
    if payload.digest and digest(found, payload.executables) != payload.digest:
        changed = os.path.commonpath([path for _, path in payload.files])
        raise PlainstackError(f"{changed}: has changed since the plan was made. Deploy again")
    if payload.interpreter:
        found.append((standalone.ARCHIVE, standalone.archive(payload.interpreter, arch, cache, report).read_bytes()))
    if payload.requirements:
        lock, path = dict(found)[payload.requirements], dict(payload.files)[payload.requirements]
        try:
            wheels = wheelhouse(lock, path, cache, report, payload.python or PYTHON, arch)
            found += [(f"wheels/{wheel.name}", wheel.read_bytes()) for wheel in wheels]
        except OSError as error:
            raise PlainstackError(
                f"the wheels of {path} cannot be kept in {cache} on this machine: {error.strerror}"
                f" ({error.filename or cache}). Make room or make it writable, and deploy again"
            ) from None
        # Leave out the options for pip: they say where this machine finds packages, and hosts would use them, too.
        here = _for_hosts(for_target(lock, path, payload.python or PYTHON, arch), wheels)
        found = [(name, here.encode() if name == payload.requirements else content) for name, content in found]
    return found


def wheelhouse(
    lock: bytes, path: str, cache: Path, report: Report, python_version: str = PYTHON, arch: str = "x86_64"
) -> list[Path]:
    """Return the wheels of a lock, from the cache or from the package index that this machine's pip uses."""
    wanted = for_target(lock, path, python_version, arch)
    folder = cache / sha256(f"{python_version} {arch}\n{wanted}".encode()).hexdigest()[:16]
    if not folder.is_dir():
        report(f"downloading the wheels of {path}")
        state_folder.make(cache)
        here = requirements.for_target(lock, path, python_version, arch)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as scratch:
            fetched = Path(scratch, "wheels")

            def build(wanted: Requirement) -> Path:
                return sdists.built(wanted, requirements.options(lock, path), cache, python_version, arch, report)

            _download(here, requirements.options(lock, path), fetched, path, python_version, arch, build)
            environment = requirements.target(python_version, arch)
            if problems := wheel_metadata.incomplete(here, sorted(fetched.glob("*.whl")), path, environment):
                raise PlainstackError("\n".join(problems))
            try:
                fetched.rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another run was faster, and its wheels have the same hashes
                    raise
    return sorted(folder.glob("*.whl"))


def _for_hosts(lock: str, wheels: Sequence[Path]) -> str:
    """Return a lock for the hosts with the hashes of the wheels that this machine built."""
    notes = [wheel.with_name(_BUILT) for wheel in wheels[:1]]
    built = json.loads(notes[0].read_bytes()) if notes and notes[0].is_file() else {}
    return "".join(f"{built.get(line, line)}\n" for line in lock.splitlines())


def for_target(lock: bytes, path: str, python_version: str, arch: str) -> str:
    """Return the lock for the hosts: only the requirements that they install, without markers."""
    return "".join(f"{each.locked}\n" for each in requirements.for_target(lock, path, python_version, arch))


def _download(
    wanted: Sequence[Requirement],
    options: Sequence[str],
    dest: Path,
    path: str,
    python_version: str,
    arch: str,
    build: Callable[[Requirement], Path],
) -> None:
    """Download into `dest`, and build there what has no wheel.

    Raises PlainstackError that names every requirement without a wheel that hosts could use.
    """
    dest.mkdir()
    missing: dict[str, str] = {}
    built: dict[str, str] = {}
    while len(missing) < _MISSING_NAMED:
        left = [each for each in wanted if each.locked not in missing and each.locked not in built]
        if not left:
            break
        done = _pip(left, options, dest, python_version, arch)
        if done.returncode == 0:
            break
        said = done.stdout + done.stderr
        # If the index was not reached, pip reports no versions either.
        without = None if _UNREACHED.search(said) else _without_wheel(left, said)
        if without is None:
            unreached = ": the package index could not be reached" if _UNREACHED.search(said) else ""
            last = [line for line in said.splitlines() if line.strip()][-6:]
            raise PlainstackError(
                "\n".join(
                    [f"{path}: pip cannot download its wheels for Python {python_version} on {arch}{unreached}"]
                    + [f"    {line}" for line in last]
                )
            )
        place = f"{path}:{without.line}: {without.name}=={without.version}"
        none = f"{place} has no wheel for Python {python_version} on {arch}"
        try:
            wheel = build(without)
            shutil.copy(wheel, dest)
            built[without.locked] = sdists.host_line(without, wheel)
        except sdists.NoSource:
            neither = f"neither a wheel for Python {python_version} on {arch} nor the source"
            missing[without.locked] = f"{place}: the package index has {neither}{_others(said)}"
        except PlainstackError as error:
            missing[without.locked] = f"{none}, and {error}"
    if missing:
        name = next(each for each in wanted if each.locked in missing)
        pinned = f"{name.name}=={name.version}"
        how = (
            "Hosts install only wheels: choose a version that has one, or build it on a machine that can:"
            f" pip wheel --no-deps {pinned} -w DIR. Then add the output of pip hash DIR/*.whl to the lock, and deploy"
            " with PIP_FIND_LINKS=DIR"
        )
        raise PlainstackError("\n".join([*missing.values(), how]))
    if built:
        (dest / _BUILT).write_text(json.dumps(built), encoding="utf-8")


def _pip(
    wanted: Sequence[Requirement], options: Sequence[str], dest: Path, python_version: str, arch: str
) -> subprocess.CompletedProcess[str]:
    lock = dest.parent / "requirements.txt"
    lock.write_text("".join(f"{line}\n" for line in (*options, *(each.locked for each in wanted))), encoding="utf-8")
    # --no-deps: the lock is complete, and pip would evaluate the markers of further dependencies for this machine.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={python_version}"]
    command += [f"--platform=manylinux_2_{minor}_{arch}" for minor in reversed(_GLIBC_MINORS)]
    if arch == "x86_64":
        command += [f"--platform=manylinux{year}_x86_64" for year in ("2014", "2010", "1")]
    command += [f"--dest={dest}", f"--requirement={lock}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _without_wheel(wanted: Sequence[Requirement], said: str) -> Requirement | None:
    found = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)", said)
    name = requirements.canonical(found[1]) if found else ""
    return next((each for each in wanted if each.name == name), None)


def _others(said: str) -> str:
    """Return the end of the error message: the newest versions that have a wheel, from pip's output."""
    found = re.search(r"\(from versions: ([^)]+)\)", said)
    if found is None or found[1] == "none":
        return " of this name and version. Check both"
    return f" of this version. Versions that have a wheel: {', '.join(found[1].split(', ')[-4:])}"
