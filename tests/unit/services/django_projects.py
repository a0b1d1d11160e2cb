"""A Django project that moves in: as startproject and other tools write it, and what is reported about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plainstack.inventory.services import DjangoService
from plainstack.services import django_look

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
