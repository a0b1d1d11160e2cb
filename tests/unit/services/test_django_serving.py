"""What `inv plan` says about the files and pages of a Django project that moves in, and about what it has locked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from plainstack.inventory.services import DjangoService
from plainstack.services import django_look, kinds, requirements
from tests.unit.services.django_projects import KEYS, MOVED, STARTED, WSGI, said, written


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
