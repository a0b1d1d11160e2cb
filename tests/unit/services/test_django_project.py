"""What `inv plan` says about the settings of a Django project that moves in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.services.django_projects import KEYS, MANAGE, MOVED, STARTED, WSGI, said


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
