"""A Django project is read, never run: certain mistakes are reported with their line, mere suspicions are not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.inventory.services import DjangoService
from plainstack.services import django_look

# Written by `django-admin startproject shop`, shortened.
MANAGE = """\
import os
import sys


def main():
    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
WSGI = """\
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')
application = get_wsgi_application()
"""
SETTINGS = """\
from pathlib import Path; from elsewhere import CLOUD, MORE, both, choose, folder

BASE_DIR = Path(__file__).resolve().parent.parent
INSTALLED_APPS = [
    'django.contrib.admin',
    'django.contrib.staticfiles',
]
STATIC_URL = 'static/'; SECRET_KEY, ALLOWED_HOSTS = 'x', ['shop.example']
"""
READS = "import os; from elsewhere import MORE, SECRET_KEY, ALLOWED_HOSTS\nSTATIC_ROOT = os.environ['STATIC_ROOT']\n"
GIVEN = dict.fromkeys(("DATA", "X", "HOSTS", "DB", "ENGINE"), "given")


def problems(folder: Path, changed: Mapping[str, str | None] | None = None, **keys: object) -> list[str]:
    """Return the problems in startproject's files after `changed` has replaced some of them; None removes a file."""
    content = {"manage.py": MANAGE, "shop/__init__.py": "", "shop/wsgi.py": WSGI, "shop/settings.py": SETTINGS}
    found = {}
    for inside, text in {**content, **(changed or {})}.items():
        if text is not None:
            path = folder / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            found[inside] = str(path)
    service = DjangoService.model_validate({"source": folder, "project": "shop", "health": "/", "env": GIVEN, **keys})
    return [one.removeprefix(f"{folder}/") for one in django_look.problems(found, service)]


def test_a_fresh_project_lacks_the_folder_for_static_files_and_the_message_says_what_to_write(tmp_path: Path) -> None:
    (reported,) = problems(tmp_path)
    assert reported.startswith("shop/settings.py:8: STATIC_ROOT is not set. ")
    assert reported.endswith('STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "staticfiles")')


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ("STATIC_ROOT = None", "shop/settings.py:9: STATIC_ROOT is not set"),
        ("STATIC_ROOT = ''", "shop/settings.py:9: STATIC_ROOT is not set"),
        (
            "STATIC_ROOT = BASE_DIR / 'staticfiles'",
            "STATIC_ROOT is a folder that the service cannot write",
        ),
        ("import os\nSTATIC_ROOT = os.path.join(BASE_DIR, 'static')", "shop/settings.py:10: STATIC_ROOT is a folder"),
        ("STATIC_ROOT = '/var/www/static'", "STATIC_ROOT is a folder"),
        ("STATIC_ROOT = str(BASE_DIR.joinpath('a', 'b'))", "STATIC_ROOT is a folder"),
        ("STATIC_ROOT: Path = BASE_DIR.parents[1] / f'{STATIC_URL}x'", "STATIC_ROOT is a folder"),
        (
            "DEBUG = False\nif DEBUG:\n    pass\nelse:\n    STATIC_ROOT = '/srv/static'",
            "settings.py:13: STATIC_ROOT",
        ),
        ("ROOT = '/srv'\nSTATIC_ROOT = '%s/static' % ROOT", "STATIC_ROOT is a folder"),
    ],
)
def test_a_folder_that_no_host_can_write_is_reported_with_its_line(tmp_path: Path, line: str, reported: str) -> None:
    (found,) = problems(tmp_path, {"shop/settings.py": f"{SETTINGS}{line}\n"})
    assert reported in found


@pytest.mark.parametrize(
    "line",
    [
        READS,
        "import os\nSTATIC_ROOT = os.environ.get('STATIC_ROOT', BASE_DIR / 'staticfiles')",
        "import os\nSTATIC_ROOT = os.getenv('STATIC_ROOT')",
        "import environ\nenv = environ.Env()\nSTATIC_ROOT = env('STATIC_ROOT', default=str(BASE_DIR))",
        "from decouple import config\nSTATIC_ROOT = config('STATIC_ROOT')",
        "import os\nSTATIC_ROOT = '/x'\nif 'ROOT' in os.environ:\n    STATIC_ROOT = os.environ['ROOT']",
        "import os\nDATA = os.environ['DATA']\nSTATIC_ROOT = DATA + '/static'",
        "import os\nSTATIC_ROOT = BASE_DIR / os.environ['X']",
        "STATIC_ROOT = folder()",
        "from shop.paths import STATIC_ROOT",
        "from elsewhere import *",
        "globals()['STATIC_ROOT'] = 'x'",
        "import sys\nsetattr(sys.modules[__name__], 'STATIC_ROOT', 'x')",
        "exec(open('more.py').read())",
        "import django_heroku\ndjango_heroku.settings(locals())",
        "import dynaconf\nsettings = dynaconf.DjangoDynaconf(__name__)",
        "from split_settings.tools import include\ninclude('static.py')",
        "def __getattr__(name):\n    return 'x'",
        "def more():\n    global STATIC_ROOT\n    STATIC_ROOT = 'x'\nmore()",
        "match 1:\n    case 1:\n        STATIC_ROOT = 'x'",
        "(STATIC_ROOT, B) = both()",
        "for STATIC_ROOT in ('a',):\n    pass",
        "with thing() as STATIC_ROOT:\n    pass",
        "if (STATIC_ROOT := find()):\n    pass",
        "try:\n    from .local import *\nexcept ImportError:\n    STATIC_ROOT = find()",
        "this is no Python that this machine reads",
    ],
)
def test_settings_that_depend_on_the_environment_or_are_not_understood_are_left_to_the_host(
    tmp_path: Path, line: str
) -> None:
    assert problems(tmp_path, {"shop/settings.py": f"{SETTINGS}{line}\n"}) == []


@pytest.mark.parametrize(
    ("storage", "reported"),
    [
        ("STATICFILES_STORAGE = 'whitenoise.storage.CompressedManifestStaticFilesStorage'", True),
        ("STATICFILES_STORAGE = 'storages.backends.s3.S3ManifestStaticStorage'", False),
        ("STATICFILES_STORAGE = choose()", False),
        ("STORAGES = {'default': {'BACKEND': 'storages.backends.s3.S3Storage'}}", True),
        ("STORAGES = {'staticfiles': {'BACKEND': 'django.contrib.staticfiles.storage.StaticFilesStorage'}}", True),
        ("STORAGES = {'default': CLOUD, 'staticfiles': {'BACKEND': 'storages.backends.s3.S3Storage'}}", False),
        ("STORAGES = {'staticfiles': CLOUD}", False),
        ("STORAGES = {**MORE}", False),
        ("STORAGES = {}\nSTORAGES['staticfiles'] = {'BACKEND': 'storages.backends.s3.S3Storage'}", False),
    ],
)
def test_static_files_in_a_cloud_need_no_folder(tmp_path: Path, storage: str, reported: bool) -> None:
    assert bool(problems(tmp_path, {"shop/settings.py": f"{SETTINGS}{storage}\n"})) is reported


STARTED = f"""{SETTINGS.replace(", ALLOWED_HOSTS", ", NAMES")}import os
STATIC_ROOT = os.environ['STATIC_ROOT']
DEBUG = True
ALLOWED_HOSTS = []
DATABASES = {{
    'default': {{
        'ENGINE': 'django.db.backends.sqlite3',
        'NAME': BASE_DIR / 'db.sqlite3',
    }}
}}
"""


def test_a_fresh_project_accepts_no_host_and_has_no_shared_database(tmp_path: Path) -> None:
    _, hosts, database = problems(tmp_path, {"shop/settings.py": STARTED})
    assert hosts.startswith("shop/settings.py:12: ALLOWED_HOSTS is empty: the site would answer every request with")
    assert hosts.endswith("ALLOWED_HOSTS: ${site.names}")
    assert database.startswith("shop/settings.py:13: DATABASES is an SQLite file, which no host could write")
    assert database.endswith("DATABASE_URL: ${database.url}")


@pytest.mark.parametrize(
    "lines",
    [
        "ALLOWED_HOSTS = ['.shop.example']",
        "ALLOWED_HOSTS = []\nALLOWED_HOSTS += os.environ['HOSTS'].split(',')",
        "ALLOWED_HOSTS = os.environ.get('HOSTS', '').split(',')",
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'shop'}}",
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.environ['DB']}}",
        "DATABASES = {'default': {'ENGINE': os.environ['ENGINE'], 'NAME': 'x'}}",
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'x'}}\nif DEBUG:\n    DATABASES = {}",
    ],
)
def test_plausible_hosts_and_databases_are_left_to_the_host(tmp_path: Path, lines: str) -> None:
    assert problems(tmp_path, {"shop/settings.py": f"{SETTINGS}{READS}{lines}\n"}) == []


def test_settings_are_read_through_imported_modules(tmp_path: Path) -> None:
    base, production = "shop/settings/base.py", "shop/settings/production.py"
    files: dict[str, str | None] = {
        "manage.py": MANAGE.replace("shop.settings", "shop.settings.production"),
        "shop/wsgi.py": WSGI.replace("shop.settings", "shop.settings.production"),
        "shop/settings.py": None,
        "shop/settings/__init__.py": "",
        base: SETTINGS,
        production: "from .base import *\nDEBUG = False\n",
    }
    (reported,) = problems(tmp_path, files)
    assert "STATIC_ROOT is not set" in reported
    files[base] = SETTINGS + READS
    assert problems(tmp_path, files) == []
    # One of the two assignments to STATIC_ROOT reads the environment.
    files[production] = "from shop.settings.base import *\nSTATIC_ROOT = BASE_DIR / 'static'\n"
    assert problems(tmp_path, files) == []
    files[base] = SETTINGS
    (reported,) = problems(tmp_path, files)
    assert reported.startswith("shop/settings/production.py:2: STATIC_ROOT is a folder")


def test_local_settings_that_are_not_deployed_are_ignored(tmp_path: Path) -> None:
    settings = f"{SETTINGS}try:\n    from .local_settings import *\nexcept ImportError:\n    pass\n"
    (reported,) = problems(tmp_path, {"shop/settings.py": settings})
    assert "STATIC_ROOT is not set" in reported


def test_a_missing_settings_module_is_reported(tmp_path: Path) -> None:
    (reported,) = problems(tmp_path, {"shop/settings.py": None})
    assert reported == "manage.py:6: DJANGO_SETTINGS_MODULE is shop.settings, but the release has no shop/settings.py"


@pytest.mark.parametrize(
    "manage",
    [
        "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', os.environ['X'])\n",
        "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'installed_package.settings')\n",
        "if a:\n    s('DJANGO_SETTINGS_MODULE')\n",
        MANAGE.replace("import sys", "os.environ.setdefault('DJANGO_CONFIGURATION', 'Production')"),
        MANAGE.replace("import sys", "if x:\n    os.environ['DJANGO_SETTINGS_MODULE'] = 'shop.other'"),
        "from hc.manage import main\n",
        "print 'python 2'\n",
    ],
)
def test_settings_chosen_by_another_program_are_left_to_the_host(tmp_path: Path, manage: str) -> None:
    assert problems(tmp_path, {"manage.py": manage, "shop/wsgi.py": "from elsewhere import application\n"}) == []


@pytest.mark.parametrize(
    ("apps", "wrong"),
    [
        ("['django.contrib.admin']", True),
        ("('shop',)", True),
        ("['django.contrib.staticfiles.apps.StaticFilesConfig']", False),
        ("['shop', *MORE]", False),
        ("['shop'] + MORE", False),
        ("['shop']\nINSTALLED_APPS += ['django.contrib.staticfiles']", False),
        ("['shop']\nINSTALLED_APPS.append('django.contrib.staticfiles')", False),
    ],
)
def test_a_project_that_cannot_collect_static_files_is_reported(tmp_path: Path, apps: str, wrong: bool) -> None:
    found = problems(tmp_path, {"shop/settings.py": f"{READS}INSTALLED_APPS = {apps}\n"})
    assert bool(found) is wrong
    if wrong:
        (reported,) = found
        assert reported.startswith("shop/settings.py:3: INSTALLED_APPS lacks django.contrib.staticfiles")


@pytest.mark.parametrize(
    ("wsgi", "wrong"),
    [
        ("", True),
        ("app = make()\n", True),
        ("try:\n    application = make()\nexcept ImportError:\n    raise\n", False),
        ("from shop.web import application\n", False),
        ("from shop.web import app as application\n", False),
        ("from elsewhere import *\n", False),
        ("def application(environ, start): ...\n", False),
        ("application: object = make()\n", False),
        ("globals()['application'] = make()\n", False),
        ("no python\n", False),
    ],
)
def test_a_module_without_an_application_is_reported(tmp_path: Path, wsgi: str, wrong: bool) -> None:
    found = problems(tmp_path, {"shop/wsgi.py": wsgi, "shop/settings.py": SETTINGS + READS})
    reported = ["shop/wsgi.py: does not define 'application', although Gunicorn runs shop.wsgi:application"]
    assert found == (reported if wrong else [])


def test_modules_that_import_each_other_are_read_once(tmp_path: Path) -> None:
    settings = "from shop.settings_two import *\nSTATIC_URL = 'static/'\n"
    two = "from shop.settings import *\nSECRET_KEY, ALLOWED_HOSTS = 'x', 'y'\n"
    two += "INSTALLED_APPS = ['django.contrib.staticfiles']\n"
    (reported,) = problems(tmp_path, {"shop/settings.py": settings, "shop/settings_two.py": two})
    assert reported.startswith("shop/settings.py:2: STATIC_ROOT is not set")


def test_a_name_defined_by_itself_does_not_loop(tmp_path: Path) -> None:
    settings = "A = B\nB = A\nSTATIC_ROOT = A + '/static'\n" + SETTINGS
    assert problems(tmp_path, {"shop/settings.py": settings}) == []
