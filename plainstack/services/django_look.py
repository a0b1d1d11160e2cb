"""Checks of a Django project by reading its code: its WSGI module and the settings that a release depends on.

Only definite errors are reported. If the code may set a setting in a way that this module does not understand, nothing
is reported; the build on the host then finds the error before anything irreversible happens.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from plainstack.inventory.services import DjangoService
from plainstack.services import django_environment, django_files, django_settings
from plainstack.services.settings_module import Files, Settings, file_of, parsed

_ENVIRONMENT = "DJANGO_SETTINGS_MODULE"
_PRODUCTION = ("production", "prod", "live")


def problems(files: Files, service: DjangoService) -> Iterator[str]:
    """Yield the errors that make a release fail on a host, or that harm the site, as messages with file and line."""
    yield from _wsgi(files, service.project)
    yield from _health(files, service)
    found = _read(files, service)
    if isinstance(found, str):
        yield found
    if found is None or isinstance(found, str):
        return
    module, path, settings = found
    if _ENVIRONMENT not in service.env and (better := _production(module, files)):
        other = f"Choose the settings in the inventory, in the env of the service: {_ENVIRONMENT}: {better}"
        if wrong := list(django_settings.debug(settings, other)):
            # If the module is not meant for hosts, its other settings do not matter.
            yield from wrong
            return
    yield from django_environment.problems(settings, service)
    yield from django_settings.problems(settings, path)
    yield from django_files.problems(settings, path, service)


def notes(files: Files, service: DjangoService) -> Iterator[str]:
    """Yield what visitors of a release that works might miss, as messages with file and line."""
    # Without folders for uploads, nothing is found, and the settings need not be read.
    found = _read(files, service) if service.folders else None
    if isinstance(found, tuple):
        yield from django_files.unserved(found[2], service.folders)


def _read(files: Files, service: DjangoService) -> tuple[str, str, Settings] | str | None:
    """Return the settings module, its local path and what it defines; a message if it is missing; or None."""
    found = _chosen(files, service)
    if found is None or isinstance(found, str):
        return found
    module, where = found
    path = file_of(module, files)
    if path is None:
        if any(inside.startswith(f"{module.split('.')[0]}/") for inside in files):
            wanted = module.replace(".", "/")
            return f"{where}{_ENVIRONMENT} is {module}, but the release has no {wanted}.py"
        return None
    settings = Settings(files)
    settings.read(module)
    return (module, files[path], settings) if settings.sure else None


def _chosen(files: Files, service: DjangoService) -> tuple[str, str] | str | None:
    """Return the settings module and what to print before its name; a message if no single one is chosen; or None."""
    if given := service.env.get(_ENVIRONMENT):
        return None if "${" in given else (given, "the service's env: ")
    manage, path = _named(files["manage.py"]), files[f"{service.project}/wsgi.py"]
    wsgi = _named(path)
    if manage and wsgi and manage[0] != wsgi[0]:
        return (
            f"{path}:{wsgi[1]}: {_ENVIRONMENT} is {wsgi[0]}, but {manage[0]} in manage.py, which migrates. Choose one"
            f" in the inventory, in the env of the service: {_ENVIRONMENT}: {wsgi[0]}"
        )
    return (manage[0], f"{files['manage.py']}:{manage[1]}: ") if manage else None


def _production(module: str, files: Files) -> str:
    """Return the module of settings for production that stands beside another one; empty if there is none."""
    package = module.rpartition(".")[0]
    near = [f"{package}.{name}" for name in _PRODUCTION]
    return next((each for each in near if each != module and file_of(each, files)), "")


def _health(files: Files, service: DjangoService) -> Iterator[str]:
    """Report the default health page if no code mentions it and the inventory does not name it either."""
    if not isinstance(service.health, str) or {"health"} & service.model_fields_set or "web" in service.processes:
        return
    word = service.health.strip("/").encode()
    for inside, path in files.items():
        if inside.endswith(".py") and word in Path(path).read_bytes():
            return
    yield (
        f"{files['manage.py']}: no code of the project mentions {service.health}, the default health page. Name another"
        " in the inventory, in the service, that answers 200 without a login, such as health: /admin/login/"
    )


def _wsgi(files: Files, project: str) -> Iterator[str]:
    path = files[f"{project}/wsgi.py"]
    tree = parsed(path)
    if tree is None:
        return
    seen = Settings({"wsgi/__init__.py": path})
    seen.read("wsgi")
    if seen.sure and "application" not in seen.bound:
        yield f"{path}: does not define 'application', although Gunicorn runs {project}.wsgi:application"


def _named(path: str) -> tuple[str, int] | None:
    """Return the settings module that a file names as its default, and the line that does."""
    tree = parsed(path)
    if tree is None:
        return None
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == "DJANGO_CONFIGURATION":
            return None
        match node:
            case ast.Call(func=ast.Attribute(attr="setdefault"), args=[ast.Constant(value=key), value]):
                pass
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=key))], value=value):
                pass
            case _:
                continue
        if key == _ENVIRONMENT:
            found.append((value.value if isinstance(value, ast.Constant) else None, node.lineno))
    names = {name for name, _ in found}
    (name, line) = found[0] if len(names) == 1 else (None, 0)
    return (name, line) if isinstance(name, str) else None
