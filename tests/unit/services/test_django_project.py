"""What `inv plan` says about a Django project that moves in: as startproject and other tools write it, and changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from plainstack.inventory.services import DjangoService
from plainstack.services import django_look, kinds, requirements

MANAGE = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
WSGI = f"{MANAGE}application = None\n"
# What startproject writes, without comments.
STARTED = """\
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = 'django-insecure-5o*'
DEBUG = True
ALLOWED_HOSTS = []
INSTALLED_APPS = ['django.contrib.admin', 'django.contrib.auth', 'django.contrib.staticfiles']
MIDDLEWARE = ['django.middleware.security.SecurityMiddleware']
DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}
STATIC_URL = 'static/'
"""
# The same after every advice of the plan.
MOVED = """\
import os
from pathlib import Path

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ["SECRET_KEY"]
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")
INSTALLED_APPS = ['django.contrib.admin', 'django.contrib.auth', 'django.contrib.staticfiles']
MIDDLEWARE = ['django.middleware.security.SecurityMiddleware', "whitenoise.middleware.WhiteNoiseMiddleware"]
DATABASES = {"default": dj_database_url.config(default=f"sqlite:///{BASE_DIR}/db.sqlite3")}
STATIC_URL = 'static/'
STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "staticfiles")
"""
KEYS: dict[str, Any] = {
    "health": "/admin/login/",
    "env": {"ALLOWED_HOSTS": "${site.names}", "DATABASE_URL": "${database.url}"},
    "secrets": {"SECRET_KEY": {"generate": 50}},
}


def said(folder: Path, settings: str, more: dict[str, str] | None = None, **keys: object) -> list[str]:
    """Return what is reported about a project with these settings and files."""
    files = written(folder, settings, more)
    service = DjangoService.model_validate({"source": folder, "project": "shop", **keys})
    return [each.removeprefix(f"{folder}/") for each in django_look.problems(files, service)]


def written(folder: Path, settings: str, more: dict[str, str] | None = None) -> dict[str, str]:
    """Write a project with these settings and files; return the files by their paths in the source."""
    content = {"manage.py": MANAGE, "shop/wsgi.py": WSGI, "shop/settings.py": settings, **(more or {})}
    files = {inside: str(folder / inside) for inside in content}
    for inside, text in content.items():
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder / inside).write_text(text)
    return files


def test_everything_that_a_fresh_project_lacks_is_said_at_once(tmp_path: Path) -> None:
    found = [re.sub(r":\d+:", ":", each)[:48] for each in said(tmp_path, STARTED)]
    assert found == [
        "manage.py: no code of the project mentions /heal",
        "shop/settings.py: SECRET_KEY is written in the s",
        "shop/settings.py: DEBUG is True: an error page w",
        "shop/settings.py: ALLOWED_HOSTS is empty: the si",
        "shop/settings.py: DATABASES is an SQLite file, w",
        "shop/settings.py: STATIC_ROOT is not set. Plains",
    ]
    theirs = [each for each in said(tmp_path, STARTED, static_by="application") if "nothing serves" in each]
    assert len(theirs) == 1
    assert "Remove `static_by: application`" in theirs[0]


def test_a_project_that_follows_all_advice_has_no_problems(tmp_path: Path) -> None:
    advice = " ".join(said(tmp_path / "before", STARTED))
    for line in MOVED.splitlines():
        if "environ" in line or "dj_database_url" in line:
            assert line in advice or line.startswith("import")
    assert said(tmp_path / "after", MOVED, **KEYS) == []


@pytest.mark.parametrize(
    ("key", "variable"), [("env", "DATABASE_URL"), ("secrets", "SECRET_KEY")], ids=["env", "secrets"]
)
def test_a_variable_that_the_inventory_does_not_name_is_reported_with_its_line(
    tmp_path: Path, key: str, variable: str
) -> None:
    (reported,) = said(tmp_path, MOVED, **{**KEYS, key: {}})
    assert re.match(rf"shop/settings.py:\d+: needs the environment variable {variable}\. Name it in", reported)


@pytest.mark.parametrize(
    ("line", "variable"),
    [
        ("import environ\nenv = environ.Env(DEBUG=(bool, False))\nKEY = env('STRIPE')", "STRIPE"),
        ("import environ\nenv = environ.Env(DEBUG=(bool, False))\nCACHE = env.cache_url('STRIPE')", "STRIPE"),
        ("import environ\nenv = environ.Env(DEBUG=(bool, False))\nDEBUG = env('DEBUG')", ""),
        ("import environ\nenv = environ.Env()\nKEY = env('STRIPE', default='')", ""),
        ("from decouple import config\nKEY = config('STRIPE')", "STRIPE"),
        ("from decouple import config\nKEY = config('STRIPE', default=None)", ""),
        ("KEY = os.environ['STRIPE'].strip()", "STRIPE"),
        ("KEY = os.environ['STRIPE'] if 'STRIPE' in os.environ else ''", ""),
        ("KEY = os.environ.get('OTHER') or os.environ['STRIPE']", ""),
        ("if not DEBUG:\n    KEY = os.environ['STRIPE']", ""),
        ("try:\n    KEY = os.environ['STRIPE']\nexcept KeyError:\n    KEY = ''", ""),
        ("def key():\n    return os.environ['STRIPE']", ""),
        ("os.environ['STRIPE'] = 'x'", ""),
        ("KEY = os.environ['HOME'] + os.environ['RELEASE']", ""),
    ],
)
def test_only_variables_that_are_certainly_needed_are_reported(tmp_path: Path, line: str, variable: str) -> None:
    found = said(tmp_path, f"{MOVED}{line}\n", **KEYS)
    assert [f"variable {variable}." in each for each in found] == ([True] if variable else [])
    assert said(tmp_path, f"{MOVED}{line}\n", **{**KEYS, "env": {**KEYS["env"], "STRIPE": "sk"}}) == []


def test_variables_that_a_file_of_the_project_may_set_are_left_to_the_host(tmp_path: Path) -> None:
    line = "from decouple import config\nKEY = config('STRIPE')\n"
    assert said(tmp_path, MOVED + line, {"settings.ini": "[settings]\nSTRIPE=x\n"}, **KEYS) == []


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("KEY = environ.get('KEY')", "environ"),
        ("KEY = sys.path", "sys"),
        ("KEY = [part for part in os.sys.path if part]", ""),
        ("KEY = lambda: undefined", ""),
        ("def key():\n    return undefined", ""),
        ("try:\n    KEY = undefined\nexcept NameError:\n    pass", ""),
        ("import os.path as where\nKEY = where.sep", ""),
        ("from .other import *\nKEY = OTHER", ""),
        ("KEY = f'{__file__} {len(__name__)}'", ""),
    ],
)
def test_a_name_that_settings_use_but_do_not_import_is_reported(tmp_path: Path, line: str, missing: str) -> None:
    found = said(tmp_path, f"{MOVED}{line}\n", {"shop/other.py": "OTHER = 1\n"}, **KEYS)
    assert [f"{missing} is not defined. Write at the top: import {missing}" in each for each in found] == (
        [True] if missing else []
    )


BASE = MOVED.replace("SECRET_KEY =", "KEY =").replace("ALLOWED_HOSTS =", "NAMES =").replace("DEBUG =", "D =")
DEV = "from .base import *\nDEBUG = True\nSECRET_KEY = 'django-insecure-1'\nALLOWED_HOSTS = ['*']\n"
PRODUCTION = "from .base import *\nDEBUG = False\ntry:\n    from .local import *\nexcept ImportError:\n    pass\n"


def wagtails(folder: Path, manage: str = "dev", wsgi: str = "dev", **keys: object) -> list[str]:
    """Return what is reported about settings as `wagtail start` lays them out."""
    more = {"shop/settings/__init__.py": "", "shop/settings/base.py": BASE, "shop/settings/dev.py": DEV}
    more |= {"shop/settings/production.py": PRODUCTION}
    more["manage.py"] = MANAGE.replace("shop.settings", f"shop.settings.{manage}")
    more["shop/wsgi.py"] = WSGI.replace("shop.settings", f"shop.settings.{wsgi}")
    content = said(folder, "", more, **{**KEYS, **keys})
    (folder / "shop/settings.py").unlink()
    return content


def test_settings_for_development_name_those_for_production(tmp_path: Path) -> None:
    (reported,) = wagtails(tmp_path)
    assert reported.startswith("shop/settings/dev.py:2: DEBUG is True")
    assert reported.endswith("in the env of the service: DJANGO_SETTINGS_MODULE: shop.settings.production")


def test_the_settings_that_the_inventory_chooses_are_the_ones_that_are_read(tmp_path: Path) -> None:
    env = {"DJANGO_SETTINGS_MODULE": "shop.settings.production", "DATABASE_URL": "x"}
    found = wagtails(tmp_path, env=env)
    assert [each.partition(".")[0] + each.partition(":1:")[2][:28] for each in found] == [
        "shop/settings/production SECRET_KEY is not set. Writ",
        "shop/settings/production ALLOWED_HOSTS is not set: t",
    ]
    (reported,) = wagtails(tmp_path, env={"DJANGO_SETTINGS_MODULE": "shop.settings.prod"})
    assert reported.startswith(
        "the service's env: DJANGO_SETTINGS_MODULE is shop.settings.prod, but the release has no"
    )


def test_two_files_that_choose_different_settings_are_reported(tmp_path: Path) -> None:
    (reported,) = wagtails(tmp_path, wsgi="production")
    assert reported.startswith(
        "shop/wsgi.py:2: DJANGO_SETTINGS_MODULE is shop.settings.production, but shop.settings.dev"
    )
    assert reported.endswith("in the env of the service: DJANGO_SETTINGS_MODULE: shop.settings.production")


@pytest.mark.parametrize(
    ("media", "folder"),
    [
        ("BASE_DIR / 'media'", "media"),
        ("os.path.join(BASE_DIR, 'var', 'media')", "var/media"),
        ("str(BASE_DIR.joinpath('media'))", "media"),
        ("os.path.join(os.path.dirname(os.path.abspath(__file__)), 'media')", "shop/media"),
        ("'/var/lib/media'", ""),
        ("os.environ.get('MEDIA', BASE_DIR / 'media')", ""),
        ("BASE_DIR.parent / 'media'", ""),
    ],
)
def test_uploads_into_the_release_need_a_writable_folder(tmp_path: Path, media: str, folder: str) -> None:
    settings = f"{MOVED}MEDIA_ROOT = {media}\n"
    found = said(tmp_path, settings, **KEYS)
    assert [f"writable: [{folder}]" in each for each in found] == ([True] if folder else [])
    assert said(tmp_path, settings, **KEYS, writable=[folder or "x"]) == []
    assert said(tmp_path, f"{settings}STORAGES = {{'default': {{'BACKEND': 'storages.S3'}}}}\n", **KEYS) == []


DEBUG_ONLY = "urlpatterns = static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)\n"
ALWAYS = "from django.views.static import serve\n"


@pytest.mark.parametrize(
    ("url", "urls", "writable", "noted"),
    [
        ("'/media/'", DEBUG_ONLY, ["media"], True),
        ("'media/'", "", ["media"], True),
        ("'media/'", ALWAYS, ["media"], False),
        ("'https://cdn.example/media/'", DEBUG_ONLY, ["media"], False),
        ("os.environ['MEDIA_URL']", DEBUG_ONLY, ["media"], False),
        ("'/media/'", DEBUG_ONLY, [], False),
    ],
)
def test_uploads_that_no_url_serves_are_noted(
    tmp_path: Path, url: str, urls: str, writable: list[str], noted: bool
) -> None:
    settings = f"{MOVED}MEDIA_ROOT = BASE_DIR / 'media'\nMEDIA_URL = {url}\n"
    files = written(tmp_path, settings, {"shop/urls.py": urls})
    service = DjangoService.model_validate({"source": tmp_path, "project": "shop", **KEYS, "writable": writable})
    found = list(django_look.notes(files, service))
    assert [each.startswith(f"{tmp_path}/shop/settings.py:") for each in found] == [True] * noted
    assert all('path("media/<path:path>", django.views.static.serve,' in each for each in found)


@pytest.mark.parametrize(
    "serves",
    [
        {"shop/urls.py": "from django.views.static import serve\n"},
        {"shop/wsgi.py": f"from whitenoise import WhiteNoise\n{WSGI}"},
        {
            "shop/settings.py": STARTED.replace(
                "MIDDLEWARE = [", "MIDDLEWARE = ['servestatic.middleware.ServeStaticMiddleware', "
            )
        },
        {"shop/settings.py": STARTED.replace("'django.contrib.admin', ", "")},
        {"shop/settings.py": STARTED + "STORAGES = {'staticfiles': {'BACKEND': 'storages.S3'}}\n"},
    ],
    ids=["urls", "wsgi", "middleware", "no admin", "a cloud"],
)
def test_a_project_that_may_serve_its_static_files_is_left_alone(tmp_path: Path, serves: dict[str, str]) -> None:
    assert any("nothing serves" in each for each in said(tmp_path, STARTED, static_by="application"))
    assert not any("nothing serves" in each for each in said(tmp_path, STARTED, serves, static_by="application"))


@pytest.mark.parametrize(
    ("url", "keys", "reported"),
    [
        ("'static/'", {}, ""),
        ("'/static/'", {"path": "/shop/", "static_url": "/static/"}, ""),
        ("'https://cdn.example/assets/'", {}, ""),
        ("'/assets/'", {"static_by": "application"}, ""),
        ("os.environ['STATIC_URL']", {}, ""),
        ("'static/'", {"path": "/shop/", "env": {"SCRIPT_NAME": "/shop"}}, ""),
        ("'assets/'", {}, "is /assets/, but the balancers serve the static files at /static/"),
        ("'/assets/'", {}, "Write in the inventory, in the service: static_url: /assets/"),
        ("'static/'", {"path": "/shop/"}, "is /static/, but the balancers serve the static files at /shop/static/"),
        ("'/static/'", {"routes": ["/shop/"]}, "serve the static files at /shop/static/"),
        ("'/'", {}, "is /, at which the balancers cannot serve static files"),
    ],
)
def test_pages_must_name_the_path_at_which_the_balancers_serve_the_files(
    tmp_path: Path, url: str, keys: dict[str, Any], reported: str
) -> None:
    given = {**KEYS, **keys, "env": {**KEYS["env"], **keys.get("env", {}), "STATIC_URL": ""}}
    found = [each for each in said(tmp_path, MOVED.replace("'static/'", url), **given) if ": STATIC_URL" in each]
    assert len(found) == bool(reported)
    assert all(reported in each for each in found)
    assert all(re.match(r"shop/settings.py:[0-9]+: STATIC_URL", each) for each in found)


def test_a_health_page_that_the_project_or_the_inventory_names_is_used(tmp_path: Path) -> None:
    keys = {key: value for key, value in KEYS.items() if key != "health"}
    assert len(said(tmp_path, MOVED, **keys)) == 1
    assert said(tmp_path, MOVED, {"shop/urls.py": "path('healthz', healthy)\n"}, **keys) == []


@pytest.mark.parametrize(
    ("locked", "packages", "missing"),
    [
        ("django", [], True),
        ("psycopg", [], True),
        ("psycopg", ["libpq5"], False),
        ("psycopg psycopg-binary", [], False),
        ("psycopg psycopg-c", [], False),
        ("psycopg2-binary", [], False),
    ],
)
def test_a_lock_without_a_driver_for_the_database_is_reported(locked: str, packages: list[str], missing: bool) -> None:
    service = DjangoService.model_validate({"source": ".", "project": "shop", "packages": packages, **KEYS})
    assert ("psycopg[binary]" in kinds.packages(service, locked.split())) is missing
    without = service.model_copy(update={"env": {}})
    assert "psycopg[binary]" not in kinds.packages(without, ["django"])


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (["requirements.in", "requirements.txt", "uv.lock"], "uv pip compile"),
        (["requirements.txt"], "rename it to requirements.in, and run: uv pip compile"),
        (["uv.lock", "pyproject.toml"], "uv export --frozen"),
        (["poetry.lock"], "poetry export"),
        (["Pipfile.lock", "requirements.txt"], "pipenv requirements --hash"),
        ([], "uv pip compile"),
    ],
)
def test_how_to_make_a_lock_depends_on_what_the_project_has(beside: list[str], words: str) -> None:
    assert requirements.lock_command("3.13", beside).startswith(words)
