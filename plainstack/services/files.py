"""The user's own files, rendered on the hosts and linked into every release of a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from plainstack.engine.resources import Directory, File, Resource
from plainstack.inventory import references, user_templates
from plainstack.inventory.services import Service
from plainstack.inventory.stack import Stack
from plainstack.services.variables import FOLDER, Scope
from plainstack.wording import Loc, dotted


def folder(service: str, *, ahead: bool = False) -> str:
    """Return the folder of the rendered files; with `ahead`, that for a release that is being built."""
    return f"{FOLDER}/{service}/files{'.next' if ahead else ''}"


def path(service: str, target: str) -> str:
    """Return the path of a rendered file on a host."""
    return f"{folder(service)}/{target}"


def resources(scope: Scope, group: str) -> Iterator[Resource]:
    """Yield the rendered files of a service, readable only for its account, and their folders.

    The running release reads the old content until the switch, as it does with environment variables.
    """
    service = scope.stack.services[scope.service]
    for ahead in (True, False) if service.files else ():
        root = folder(scope.service, ahead=ahead)
        inner = {str(above) for target in service.files for above in PurePosixPath(target).parents}
        for below in sorted(inner):
            yield Directory(path=f"{root}/{below}".removesuffix("/."), mode=0o750, group=group)
        for target, template in service.files.items():
            text = user_templates.read(scope.stack.file(template), str(template))
            yield File(
                path=f"{root}/{target}",
                content=references.resolve(text, scope.value).encode(),
                mode=0o640,
                group=group,
                secret=scope.holds_secret(text),
                ahead=ahead,
            )


def referred(stack: Stack, service: Service) -> Iterator[str]:
    """Yield the references of the templates; unusable ones are reported when the inventory is loaded."""
    for template in service.files.values():
        try:
            yield from (name for _, name in user_templates.referred(stack.file(template), str(template)))
        except ValueError:
            continue


def identity(service: Service) -> list[str]:
    """Return what distinguishes a release with these files from one with others: where they are linked."""
    return [f"file\0{target}" for target in sorted(service.files)]


def contradictions(name: str, service: Service) -> Iterator[tuple[Loc, str]]:
    """Yield target paths that conflict with each other, or that are in a writable folder."""
    taken = {target: f"services.{name}.files.{target}" for target in service.files}
    taken |= dict.fromkeys(service.folders, f"services.{name}.writable")
    for target in service.files:
        loc: Loc = ("services", name, "files", target)
        for other, what in taken.items():
            if other == target and other in service.files and other not in service.folders:
                continue
            if other == target or _inside(target, other) or (other in service.folders and _inside(other, target)):
                yield loc, f"{dotted(loc)}: {target} and {other} of {what} cannot both be there; remove one of the two"


def clashes(name: str, service: Service, sent: Mapping[str, str]) -> Iterator[str]:
    """Yield targets that the source has, too; `sent` are the files of the source."""
    for target in service.files:
        places = [inside for inside in sent if inside == target or _inside(target, inside) or _inside(inside, target)]
        if places:
            yield (
                f"services.{name}.files.{target}: the source contains {places[0]}, and neither replaces the other;"
                " remove one of the two"
            )


def _inside(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")
