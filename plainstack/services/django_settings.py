"""Checks of Django's settings that decide whether a site answers at all, and whether it is safe to make it public."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from plainstack.services.settings_module import Binding, Settings

_ALLOWED_HOSTS = (
    'Write ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost").split(","), and in the inventory, in the env of'
    " the service, ALLOWED_HOSTS: ${site.names}"
)
_DATABASE = (
    'Write DATABASES = {"default": dj_database_url.config(default=f"sqlite:///{BASE_DIR}/db.sqlite3")} and'
    " import dj_database_url (dj-database-url in requirements.in), and in the inventory, in the env of the service,"
    " DATABASE_URL: ${database.url}"
)
_KEY = (
    'Write SECRET_KEY = os.environ["SECRET_KEY"], and in the inventory, in the service,'
    " secrets: {SECRET_KEY: {generate: 50}}"
)
_DEBUG = 'Write DEBUG = os.environ.get("DEBUG") == "1", and set DEBUG=1 where you develop'
_INSECURE = "django-insecure-"


def problems(settings: Settings, path: str) -> Iterator[str]:
    """Yield the settings that are missing or wrong for a host; `path` is the file of the settings module."""
    yield from _secret_key(settings, path)
    yield from debug(settings, _DEBUG)
    yield from _allowed_hosts(settings, path)
    yield from _database(settings)


def debug(settings: Settings, advice: str) -> Iterator[str]:
    """Report DEBUG if it is always true."""
    known = settings.bound.get("DEBUG", [])
    if known and all(isinstance(one.value, ast.Constant) and one.value.value is True for one in known):
        what = "an error page would show visitors the source and the settings"
        yield f"{known[-1].path}:{known[-1].line}: DEBUG is True: {what}. {advice}"


def _secret_key(settings: Settings, path: str) -> Iterator[str]:
    known = settings.bound.get("SECRET_KEY", [])
    if not known:
        yield f"{path}:1: SECRET_KEY is not set. {_KEY}"
    elif isinstance(known[-1].value, ast.Constant) and str(known[-1].value.value).startswith(_INSECURE):
        what = "is written in the source: anyone who can read the source can forge sessions of every user"
        yield f"{known[-1].path}:{known[-1].line}: SECRET_KEY {what}. {_KEY}"


def _allowed_hosts(settings: Settings, path: str) -> Iterator[str]:
    """Report an ALLOWED_HOSTS that is missing, or empty as startproject writes it.

    With DEBUG, Django then accepts only requests for localhost, and otherwise none.
    """
    if not settings.bound.get("ALLOWED_HOSTS"):
        yield f"{path}:1: ALLOWED_HOSTS is not set: the site would answer every request with 400. {_ALLOWED_HOSTS}"
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
