"""Checks of a Django project's folders: static files that are collected and served, and uploads that can be stored."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

from plainstack.inventory.services import DjangoService
from plainstack.services import django_static, static_paths
from plainstack.services.settings_module import Binding, Files, Settings, parsed
from plainstack.services.settings_paths import inside_source

# The advice printed when STATIC_ROOT is missing or cannot work on a host.
STATIC_ROOT = (
    "Plainstack gives each release a folder for static files, as the environment variable STATIC_ROOT:"
    ' STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "staticfiles")'
)
_STATICFILES = "django.contrib.staticfiles"
_ADMINS = ("django.contrib.admin", "wagtail.admin")
_WHITENOISE = (
    "Remove `static_by: application` from the service, or add whitenoise to requirements.in, and"
    ' "whitenoise.middleware.WhiteNoiseMiddleware" to MIDDLEWARE, after SecurityMiddleware'
)


def problems(settings: Settings, path: str, service: DjangoService) -> Iterator[str]:
    """Yield what is wrong with the folders that settings name; `path` is the file of the settings module."""
    if _collects_into_a_folder(settings):
        yield from _static_root(settings, path)
        if static_paths.on_balancers(service):
            yield from django_static.problems(settings, service)
        else:
            yield from _served(settings, service.project)
    yield from _staticfiles(settings)
    yield from _media(settings, service.folders)


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


def _served(settings: Settings, project: str) -> Iterator[str]:
    """Report an admin whose style sheets nothing serves: Django itself serves static files only in development."""
    apps = listed(settings, "INSTALLED_APPS")
    middleware = listed(settings, "MIDDLEWARE")
    if apps is None or middleware is None or not {*_ADMINS} & {*apps}:
        return
    if any("static" in each.lower() or "whitenoise" in each.lower() for each in middleware):
        return
    for module, word in ((f"{project}/wsgi.py", "whitenoise"), (f"{project}/urls.py", "views.static")):
        tree = parsed(settings.files[module]) if module in settings.files else None
        if tree is not None and word in ast.unparse(tree):
            return
    last = settings.bound["MIDDLEWARE"][-1]
    yield (
        f"{last.path}:{last.line}: nothing serves the static files, so pages such as the admin's would have no style"
        f" sheets. {_WHITENOISE}"
    )


def _media(settings: Settings, writable: Collection[str]) -> Iterator[str]:
    """Report uploads into a folder of the release, which is read-only."""
    known = settings.bound.get("MEDIA_ROOT", [])
    if not known or "DEFAULT_FILE_STORAGE" in settings.bound or not _stores_uploads_here(settings):
        return
    folder = inside_source(settings, known[-1])
    if folder and not any(folder == each or folder.startswith(f"{each}/") for each in writable):
        yield (
            f"{known[-1].path}:{known[-1].line}: MEDIA_ROOT is {folder}/ in the release, which is read-only, so that"
            f" uploads would fail. Name it in the inventory, in the service: writable: [{folder}]"
        )


def unserved(settings: Settings, writable: Collection[str]) -> Iterator[str]:
    """Report uploads that no URL of the project serves: Django itself serves them only in development."""
    known, urls = settings.bound.get("MEDIA_ROOT", []), settings.bound.get("MEDIA_URL", [])
    if not known or not urls or not _stores_uploads_here(settings):
        return
    url, folder = urls[-1], inside_source(settings, known[-1])
    if not isinstance(url.value, ast.Constant) or not folder:
        return
    if not any(f"{folder}/".startswith(f"{each}/") for each in writable):
        return
    path = str(url.value.value).strip("/")
    if not path or "//" in path or _serves_files(settings.files):
        return
    line = f'path("{path}/<path:path>", django.views.static.serve, {{"document_root": settings.MEDIA_ROOT}})'
    yield (
        f"{url.path}:{url.line}: MEDIA_URL is /{path}/, but no urls.py serves it unless DEBUG is on, so that uploads"
        f" answer 404. Add to urlpatterns: {line}"
    )


def _serves_files(files: Files) -> bool:
    own = [path for inside, path in files.items() if inside.rpartition("/")[2] == "urls.py"]
    return any(b"views.static" in Path(path).read_bytes() for path in own)


def _stores_uploads_here(settings: Settings) -> bool:
    for one in settings.bound.get("STORAGES", []):
        if isinstance(one.value, ast.Dict):
            for key, value in zip(one.value.keys, one.value.values, strict=True):
                if not isinstance(key, ast.Constant) or (key.value == "default" and not _is_local(value)):
                    return False
    return True


def listed(settings: Settings, name: str) -> list[str] | None:
    """Return the texts of a setting that is one literal list; None if it may be anything else."""
    match settings.bound.get(name, []):
        case [Binding(value=ast.List(elts=items) | ast.Tuple(elts=items))]:
            texts = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            return texts if len(texts) == len(items) else None
    return None
