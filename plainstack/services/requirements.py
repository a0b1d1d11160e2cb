"""A locked requirements file: what it pins for the hosts, and which of its lines no host could install."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.errors import PlainstackError

# At most this many lines are listed for one mistake, such as missing hashes.
SHOWN = 8

_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[(?P<extras>[^]]*)\])?\s*(?P<rest>[^;]*?)\s*(?:;(?P<marker>.*))?"
)
_PINNED = re.compile(r"={2,3}\s*(?P<version>[A-Za-z0-9.!+_-]+)")
_HASH = re.compile(r"--hash[= ](?:sha256|sha384|sha512):[0-9a-fA-F]+")
# How to export a lock with hashes from the lock of another tool.
_TOOLS = {
    "uv.lock": "uv export --frozen --no-dev --no-emit-project -o requirements.txt",
    "poetry.lock": "poetry export --only main -o requirements.txt",
    "Pipfile.lock": "pipenv requirements --hash >requirements.txt",
    "pdm.lock": "pdm export --prod -o requirements.txt",
}
_ELSEWHERE = ("-r", "--requirement", "-c", "--constraint")
_BUILDS = ("-e", "--editable", "--global-option", "--config-settings")


@dataclass(frozen=True)
class Requirement:
    """A requirement of a lock, or an option for pip, which has no name; `text` is without comments and hashes."""

    line: int
    text: str
    name: str = ""
    extras: tuple[str, ...] = ()
    version: str = ""
    marker: str = ""
    hashes: tuple[str, ...] = ()

    @property
    def locked(self) -> str:
        """The requirement as a host installs it: without its marker, which was already evaluated."""
        return " ".join([self.text.partition(";")[0].strip(), *self.hashes])


def parse(lock: bytes, path: str) -> list[Requirement]:
    """Return every requirement and option of a lock. Raises PlainstackError if it is not text."""
    try:
        text = lock.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PlainstackError(f"{path}: is not UTF-8 text. Make the lock again") from None
    return [_requirement(number, line) for number, line in _logical_lines(text)]


def _requirement(number: int, line: str) -> Requirement:
    hashes = tuple(_HASH.findall(line))
    text = line.partition(" --hash")[0].strip()
    found = _NAMED.fullmatch(text)
    if found is None or (found["rest"] and found["rest"][0] not in "=<>!~("):
        return Requirement(number, text, hashes=hashes)
    pinned = _PINNED.fullmatch(found["rest"].strip())
    return Requirement(
        line=number,
        text=text,
        name=canonical(found["name"]),
        extras=tuple(sorted(canonical(extra) for extra in (found["extras"] or "").split(",") if extra.strip())),
        version=pinned["version"] if pinned else "",
        marker=(found["marker"] or "").strip(),
        hashes=hashes,
    )


def names(lock: bytes, path: str) -> set[str]:
    """Return the names of the packages in a lock; none if it is not text, which `problems` reports."""
    try:
        return {each.name for each in parse(lock, path)}
    except PlainstackError:
        return set()


def canonical(name: str) -> str:
    """Return a package's name in normalized form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, text) of each logical line without comments; a backslash continues a line."""
    joined, first = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        first = first if joined else number
        # As in pip, a comment line ends the continuation.
        continued = raw.endswith("\\") and not re.match(r"\s*#", raw)
        joined += f" {raw.removesuffix(chr(92)) if continued else raw}"
        if not continued:
            if line := _without_comment(joined):
                yield first, line
            joined = ""
    if line := _without_comment(joined):
        yield first, line


def _without_comment(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"(^|\s)#.*$", "", text)).strip()


def target(python_version: str, arch: str) -> dict[str, str]:
    """Return the environment for evaluating markers as a host would; pip evaluates them for this machine."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python_version}.0",
        "os_name": "posix",
        "platform_machine": arch,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python_version}.0",
        "python_version": python_version,
        "sys_platform": "linux",
        "extra": "",
    }


def applies(marker: str, environment: Mapping[str, str]) -> bool:
    """Return whether a marker holds. Raises ValueError if it is not valid."""
    return not marker or _evaluated(marker, tuple(environment.items()))


@cache
def _evaluated(marker: str, environment: tuple[tuple[str, str], ...]) -> bool:
    from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

    try:
        return Marker(marker).evaluate(dict(environment))
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName) as error:
        raise ValueError(str(error).splitlines()[0]) from None


def for_target(lock: bytes, path: str, python_version: str, arch: str) -> list[Requirement]:
    """Return the requirements that a host installs. Raises PlainstackError for an invalid marker."""
    environment = target(python_version, arch)
    found = []
    for each in parse(lock, path):
        try:
            if each.name and applies(each.marker, environment):
                found.append(each)
        except ValueError:
            raise PlainstackError(f"{path}:{each.line}: {each.text[:80]}: the marker after ';' is not valid") from None
    return found


def options(lock: bytes, path: str) -> list[str]:
    """Return the options for pip in a lock; folders of --find-links are relative to the lock's folder."""
    found = [re.split(r"[ =]", each.text, maxsplit=1) for each in parse(lock, path) if each.text.startswith("-")]
    return [
        f"--find-links={Path(path).absolute().parent / value}"
        if option in ("-f", "--find-links") and "://" not in value
        else f"{option} {value}"
        for option, value in ((one[0], "".join(one[1:])) for one in found)
    ]


def compile_command(python_version: str, lock: str = "requirements.txt") -> str:
    """Return the command that makes a lock from the file beside it that ends in .in."""
    return f"uv pip compile --generate-hashes --python-version {python_version} {_unlocked(lock)} -o {lock}"


def lock_command(python_version: str, names: Collection[str], lock: str = "requirements.txt") -> str:
    """Return how to make a lock from what a project has: the files in its folder by name."""
    unlocked = _unlocked(lock)
    for name, command in _TOOLS.items():
        if name in names and unlocked not in names:
            return command.replace("requirements.txt", lock)
    if unlocked not in names and lock in names:
        return f"rename it to {unlocked}, and run: {compile_command(python_version, lock)}"
    return compile_command(python_version, lock)


def _unlocked(lock: str) -> str:
    return f"{lock.removesuffix('.txt')}.in"


def problems(
    lock: bytes,
    path: str,
    needed: Mapping[str, str],
    python_version: str,
    arch: str = "x86_64",
    beside: Collection[str] = ("requirements.in",),
) -> Iterator[str]:
    """Yield the reasons why hosts cannot install a lock, as messages with file and line.

    `needed` maps each package that the lock must contain to its purpose. `beside` are the names of the files in its
    folder. Missing wheels are not detected, because only the package index knows them: see plainstack.services.wheels.
    """
    try:
        everything = parse(lock, path)
        here = for_target(lock, path, python_version, arch)
    except PlainstackError as error:
        yield str(error)
        return
    name_of_lock = Path(path).name
    wrong = [each for each in everything if not each.name]
    yield from (f"{path}:{each.line}: {each.text[:80]}: {why}" for each in wrong if (why := _unfit(each.text)))
    unpinned = [each for each in here if not each.version]
    yield from _capped([f"{path}:{each.line}: {each.text[:80]} is not pinned to one version" for each in unpinned])
    unhashed = [each for each in here if each.version and not each.hashes]
    if unhashed and len(unhashed) == len(here):
        yield f"{path}: no requirement in it has a --hash, which hosts need to verify what they install"
    else:
        yield from _capped([f"{path}:{each.line}: {each.text[:80]} has no --hash" for each in unhashed])
    seen: dict[str, Requirement] = {}
    for each in here:
        first = seen.setdefault(each.name, each)
        if first.version != each.version:
            both = f"{each.version}, and on line {first.line} to {first.version}"
            yield f"{path}:{each.line}: {each.name} is pinned to {both}"
    missing = {name: what for name, what in needed.items() if name not in seen}
    for name, what in missing.items():
        yield f"{path}: has no {name}, {what}. Add {name} to {_unlocked(name_of_lock)}"
    if unpinned or unhashed or missing:
        yield f"{path}: make the lock again: {lock_command(python_version, beside, name_of_lock)}"


def _unfit(text: str) -> str:
    option = re.split(r"[ =]", text, maxsplit=1)[0]
    if option in _ELSEWHERE or re.match(r"-[rc]\S", text):
        return "other files are not sent to hosts. Put all requirements into one lock"
    if option in _BUILDS:
        return "would have to be built on the host, but hosts install only wheels"
    if option == "--no-binary":
        return "asks for a build on the host. Remove it: requirements without a wheel are built on this machine"
    if text.startswith("-"):
        return ""
    return "is not a package from an index. Hosts install only wheels, by name and version"


def _capped(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"{lines[SHOWN - 1].partition(':')[0]}: {len(lines) - SHOWN} more of this kind"
