"""The stack's own lines for the balancers' configuration: nginx/NAME.d/*.conf beside the inventory.

They are in the context `server` of one of the site's names, or with the NAME `any`, of all of them. Other files in the
folder are in the context `location` of the routes that name them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from plainstack.inventory.stack import Stack
from plainstack.inventory.validation import problem_of_path
from plainstack.inventory.web_values import is_name
from plainstack.services import snippet_text
from plainstack.services.edge import Balancer, below, problem_of_certificate
from plainstack.services.processes import served
from plainstack.services.snippet_text import Broken, Directive
from plainstack.wording import Loc, did_you_mean

FOLDER = Path("nginx")
ANY = "any"
# Far more than a person writes; it is sent with every change.
_LARGEST = 256 << 10
# Other characters end a word of the configuration, or have a meaning in it.
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_ALLOWED = "letters, digits, '.', '_' and '-' are allowed"


def snippets(stack: Stack) -> Mapping[str, tuple[Path, ...]]:
    """Return the paths of the snippets, relative to the inventory's folder, by name of the site."""
    found: dict[str, tuple[Path, ...]] = {}
    for folder in sorted(stack.file(FOLDER).glob("*.d")):
        files = tuple(FOLDER / folder.name / file.name for file in sorted(folder.glob("*.conf")))
        if files:
            found[folder.name.removesuffix(".d")] = files
    return found


def of_routes(stack: Stack) -> Iterator[Path]:
    """Yield the snippets that routes name, relative to the inventory's folder."""
    yield from dict.fromkeys(route.snippet for one in served(stack) for route in one.routes if route.snippet)


def problem_of(stack: Stack, path: Path) -> str:
    """Return why a route cannot have this snippet; empty if it can."""
    if path.parts[0] != str(FOLDER) or ".." in path.parts or len(path.parts) == 1:
        return f"{path} must be in the folder {FOLDER} beside the inventory"
    if path.suffix == ".conf" and path.parent.parent == FOLDER and path.parent.suffix == ".d":
        return f"{path} is for the whole server, like every *.conf in a folder NAME.d. Move it to {FOLDER}/{path.name}"
    if problem := problem_of_path(stack, path):
        return problem
    for number, folder in enumerate(path.parts[1:-1]):
        # The folder of a wildcard name may have files for routes, too.
        if not _PLAIN.fullmatch(folder if number else folder.removeprefix("*.")):
            return f"{path}: Rename the folder {folder}: {_ALLOWED}"
    problem = _problem(stack.file(path))
    return f"{path}{problem}" if problem else ""


def problems(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield the errors as (place, sentence) pairs."""
    names = stack.settings(Balancer).server_names
    for name, files in snippets(stack).items():
        if name != ANY and not any(below(known, name) for known in names):
            hint = did_you_mean(name, [*names, ANY])
            yield (
                ("balancer",),
                f"{FOLDER}/{name}.d: {name} is not in balancer.server_names{hint}; known: {', '.join([*names, ANY])}",
            )
        elif not is_name(name.removeprefix("*.")):
            yield (
                ("balancer",),
                f"{FOLDER}/{name}.d: {name} is not a name such as shop.example or *.shop.example, in lower case."
                " Rename the folder",
            )
        elif problem := problem_of_certificate(names, name):
            yield ("balancer",), f"{FOLDER}/{name}.d: {problem}"
        for file in files:
            if problem := _problem(stack.file(file)):
                yield ("balancer",), f"{file}{problem}"


def directives(stack: Stack, path: Path) -> list[Directive]:
    """Return the outer directives of a snippet; none if `problems` reports an error in it."""
    try:
        return snippet_text.directives(stack.file(path).read_bytes())
    except (OSError, Broken):
        return []


def _problem(path: Path) -> str:
    """Return what is wrong with a snippet, to be appended to its path; empty if it can be included."""
    if not _PLAIN.fullmatch(path.name):
        return f": Rename the file: {_ALLOWED}"
    try:
        content = path.read_bytes()
    except OSError as error:
        return f": cannot be read: {error.strerror}"
    if len(content) > _LARGEST:
        return f": has more than {_LARGEST >> 10} KiB, the limit"
    if b"\0" in content:
        return ": is not a text file"
    try:
        snippet_text.directives(content)
    except Broken as error:
        return f":{error.line}: {error.problem}"
    return ""
