"""Checks of a Django project by reading its code: its WSGI module and the settings that a release depends on.

Only definite errors are reported. If the code may set a setting in a way that this module does not understand, nothing
is reported; the build on the host then finds the error before anything irreversible happens.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from plainstack.services.settings_module import Binding, Files, Settings, file_of, parsed

# The advice printed when STATIC_ROOT is missing or cannot work on a host.
STATIC_ROOT = (
    "Plainstack gives each release a folder for static files, as the environment variable STATIC_ROOT:"
    ' STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "staticfiles")'
)
_ALLOWED_HOSTS = (
    'Write ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(","), and in the inventory, in the env of the service,'
    " ALLOWED_HOSTS: ${site.names}"
)
_DATABASE = (
    'Write DATABASES = {"default": dj_database_url.config()} (add dj-database-url to requirements.in), and in the'
    " inventory, in the env of the service, DATABASE_URL: ${database.url}"
)
_ENVIRONMENT = "DJANGO_SETTINGS_MODULE"
_STATICFILES = "django.contrib.staticfiles"


def problems(files: Files, project: str) -> Iterator[str]:
    """Yield the errors that must make a release fail on a host, as messages with file and line."""
    yield from _wsgi(files, project)
    found = _settings_module(files)
    if found is None:
        return
    module, line = found
    if file_of(module, files) is None:
        if any(inside.startswith(f"{module.split('.')[0]}/") for inside in files):
            wanted = module.replace(".", "/")
            yield f"{files['manage.py']}:{line}: {_ENVIRONMENT} is {module}, but the release has no {wanted}.py"
        return
    settings = Settings(files)
    settings.read(module)
    if settings.sure:
        if _collects_into_a_folder(settings):
            yield from _static_root(settings, files[file_of(module, files) or ""])
        yield from _staticfiles(settings)
        yield from _allowed_hosts(settings)
        yield from _database(settings)


def _wsgi(files: Files, project: str) -> Iterator[str]:
    path = files[f"{project}/wsgi.py"]
    tree = parsed(path)
    if tree is None:
        return
    seen = Settings({"wsgi/__init__.py": path})
    seen.read("wsgi")
    if seen.sure and "application" not in seen.bound:
        yield f"{path}: does not define 'application', although Gunicorn runs {project}.wsgi:application"


def _collects_into_a_folder(settings: Settings) -> bool:
    """Return whether collectstatic writes to a local folder, which needs STATIC_ROOT, and not to cloud storage."""
    kept = [one.value for one in settings.bound.get("STATICFILES_STORAGE", [])]
    for one in settings.bound.get("STORAGES", []):
        if not isinstance(one.value, ast.Dict):
            return False
        for key, value in zip(one.value.keys, one.value.values, strict=True):
            if not isinstance(key, ast.Constant):
                return False
            kept += [value] if key.value == "staticfiles" else []
    return all(value is not None and _is_local(value) for value in kept)


def _is_local(storage: ast.expr) -> bool:
    plain = (ast.Dict, ast.Constant, ast.Load)
    nodes = list(ast.walk(storage))
    paths = [node.value for node in nodes if isinstance(node, ast.Constant) and "." in str(node.value)]
    return all(isinstance(node, plain) for node in nodes) and all(
        str(path).startswith(("django.", "whitenoise.")) for path in paths
    )


def _static_root(settings: Settings, path: str) -> Iterator[str]:
    known = settings.bound.get("STATIC_ROOT", [])
    if not known:
        near = [one for one in settings.bound.get("STATIC_URL", []) if one.path == path]
        yield f"{path}:{near[-1].line if near else 1}: STATIC_ROOT is not set. {STATIC_ROOT}"
    elif all(settings.fixed(one.value) for one in known):
        last = known[-1]
        unset = isinstance(last.value, ast.Constant) and not last.value.value
        what = "is not set" if unset else "is a folder that the service cannot write to on a host"
        yield f"{last.path}:{last.line}: STATIC_ROOT {what}. {STATIC_ROOT}"


def _staticfiles(settings: Settings) -> Iterator[str]:
    match settings.bound.get("INSTALLED_APPS", []):
        case [Binding(path, line, ast.List(elts=items) | ast.Tuple(elts=items))]:
            apps = [item.value for item in items if isinstance(item, ast.Constant)]
            if len(apps) == len(items) and not any(str(app).startswith(_STATICFILES) for app in apps):
                yield f"{path}:{line}: INSTALLED_APPS lacks {_STATICFILES}, which collects a release's static files"


def _allowed_hosts(settings: Settings) -> Iterator[str]:
    """Report an empty ALLOWED_HOSTS, as startproject writes it.

    With DEBUG, Django then accepts only requests for localhost, and otherwise none.
    """
    match settings.bound.get("ALLOWED_HOSTS", []):
        case [Binding(path, line, ast.List(elts=[]) | ast.Tuple(elts=[]))]:
            what = "is empty: the site would answer every request with 400"
            yield f"{path}:{line}: ALLOWED_HOSTS {what}. {_ALLOWED_HOSTS}"


def _database(settings: Settings) -> Iterator[str]:
    match settings.bound.get("DATABASES", []):
        case [Binding(path, line, ast.Dict(keys=[ast.Constant(value="default")], values=[ast.Dict() as default]))]:
            values = {
                key.value: value
                for key, value in zip(default.keys, default.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            engine, name = values.get("ENGINE"), values.get("NAME")
            is_sqlite = isinstance(engine, ast.Constant) and engine.value == "django.db.backends.sqlite3"
            if is_sqlite and settings.fixed(name):
                what = "an SQLite file, which no host could write and no two could share"
                yield f"{path}:{line}: DATABASES is {what}. {_DATABASE}"


def _settings_module(files: Files) -> tuple[str, int] | None:
    """Return the settings module that manage.py uses by default, and the line that names it."""
    tree = parsed(files["manage.py"])
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
