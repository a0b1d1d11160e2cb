"""The build of a source on the operator's machine: it runs before the source is read, if the source has changed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from plainstack import state_folder
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.services import processes, release, source
from plainstack.wording import one_of

_TAIL = 15


def wanted(stack: Stack, hosts: Collection[str], scope: Collection[str] | None) -> list[str]:
    """Return the services with a local build that a deploy of these hosts and roles sends; None stands for all."""
    if scope is not None and not set(processes.ROLES) & set(scope):
        return []
    return [
        name
        for name, service in stack.services.items()
        if service.build.local is not None and any(host.name in hosts for host in processes.hosts(stack, name))
    ]


def run(stack: Stack, names: Collection[str], report: Callable[[str], None]) -> None:
    """Run the builds that are due, one after another, and announce each. Raises Refused if one fails."""
    for name, why in due(stack, names):
        service = stack.services[name]
        folder = stack.file(service.source)
        report(f"{name}: running {service.build.local} in {folder} ({why})")
        key = f"services.{name}.build.local"
        _run(key, service.build.local or "", folder, service.build.timeout)
        _check(stack, name, key)
        state_folder.make(_note(stack))
        (_note(stack) / f"{name}.json").write_text(json.dumps({"built": _digest(stack, name)}), encoding="utf-8")


def due(stack: Stack, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each service whose build is due, and why.

    The output of a build is part of the source, so a build is due if the source differs from what the last build left.
    """
    for name in names:
        try:
            kept = json.loads((_note(stack) / f"{name}.json").read_text(encoding="utf-8"))["built"]
        except (OSError, ValueError, KeyError, TypeError):
            yield name, "it has not been built here"
            continue
        if kept != _digest(stack, name):
            yield name, "its source has changed since it was built"


def _note(stack: Stack) -> Path:
    return stack.state / "builds"


def _digest(stack: Stack, name: str) -> str:
    """Return a digest of the source and the command; hidden files, which configure many build tools, count, too."""
    service = stack.services[name]
    tree = source.walk(stack.file(service.source), service.folders)
    command = (" command", f"{service.build.local}".encode())
    whole = ("source", release.tree_digest(stack, name, tree).encode())
    return release.digest([command, whole, *_readable(tree.hidden)])


def _readable(files: Iterable[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    for inside, path in files:
        with contextlib.suppress(OSError):
            yield inside, Path(path).read_bytes()


def _run(key: str, line: str, folder: Path, seconds: int) -> None:
    with tempfile.TemporaryFile() as said:
        try:
            # In a session of its own, the command can be killed with its children, and it cannot ask on the terminal.
            process = subprocess.Popen(
                ["/bin/sh", "-c", line],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise Refused(f"{key}: {line} cannot run in {folder}: {error.strerror}") from None
        try:
            code = process.wait(seconds)
            how = f"failed with exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            how = f"did not finish within {seconds} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if how:
            said.seek(max(0, said.seek(0, os.SEEK_END) - 8000))
            lines = said.read().decode(errors="replace").splitlines()[-_TAIL:]
            what = f"{key}: {line} {how} in {folder}; nothing was changed. Correct it, or leave it out with --no-build"
            raise Refused("\n".join([what, *(f"    {one}" for one in lines)]))


def _check(stack: Stack, name: str, key: str) -> None:
    """Raise Refused if the build did not make what the inventory says."""
    service = stack.services[name]
    files = [file.inside for file in source.walk(stack.file(service.source), service.folders).files]
    missing = [
        output
        for output in service.build.output
        if not any(inside == output or inside.startswith(f"{output}/") for inside in files)
    ]
    if missing:
        raise Refused(
            f"{key}: {service.build.local} ended without an error, but no file that a release contains is at"
            f" {one_of(missing)}, which services.{name}.build.output names"
        )


def problem(stack: Stack, name: str) -> str:
    """Return why a service cannot have a local build; empty if it can."""
    service = stack.services[name]
    if service.build.local is not None and stack.file(service.source).is_file():
        return "needs a folder as its source, in which the command runs"
    return ""
