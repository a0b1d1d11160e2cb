"""The metadata in wheels: whether a lock contains everything that its packages need."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from plainstack.services.requirements import Requirement, canonical, compile_command

if TYPE_CHECKING:
    from packaging.requirements import Requirement as Dependency


def incomplete(
    locked: Sequence[Requirement], wheels: Sequence[Path], path: str, environment: Mapping[str, str]
) -> list[str]:
    """Return a message for each dependency that a lock lacks or pins unsuitably, and that would fail on a host."""
    pinned = {each.name: each for each in locked}
    needs = {canonical(wheel.name.split("-")[0]): list(_dependencies(wheel)) for wheel in wheels}
    problems: dict[str, None] = {}
    # A dependency may request extras of another package, and those have dependencies of their own.
    extras = {each.name: set(each.extras) for each in locked}
    left = list(pinned)
    while left:
        name = left.pop(0)
        for dependency in needs.get(name, ()):
            if not _holds(dependency, extras[name], environment):
                continue
            other = pinned.get(canonical(dependency.name))
            package = f"{path}:{pinned[name].line}: {name}=={pinned[name].version} needs"
            if other is None:
                problems[f"{package} {dependency.name}{dependency.specifier}, which the lock does not contain"] = None
                continue
            if not dependency.specifier.contains(other.version, prereleases=True):
                problems[f"{package} {dependency.name}{dependency.specifier}, but the lock pins {other.version}"] = None
            new = {canonical(extra) for extra in dependency.extras} - extras[other.name]
            if new:
                extras[other.name] |= new
                left.append(other.name)
    return (
        [*problems, f"{path}: make the lock again: {compile_command(environment['python_version'])}"]
        if problems
        else []
    )


def _holds(dependency: Dependency, extras: set[str], environment: Mapping[str, str]) -> bool:
    marker = dependency.marker
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def _dependencies(wheel: Path) -> Iterator[Dependency]:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Dependency

    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [
                name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1
            ]
            metadata = HeaderParser().parsestr(archive.read(name).decode(errors="replace"))
    except (zipfile.BadZipFile, ValueError):
        return  # pip reports what is wrong with the wheel
    for line in metadata.get_all("Requires-Dist") or ():
        try:
            yield Dependency(line)
        except InvalidRequirement:
            continue
