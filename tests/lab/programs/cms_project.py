"""A Wagtail project, changed as a person would change it before it moves to hosts."""

from __future__ import annotations

from pathlib import Path

from tests.lab.programs import projects

WHITENOISE = '"whitenoise.middleware.WhiteNoiseMiddleware",'


def for_hosts(cms: Path) -> None:
    """Change a project as `inv plan` asks, and let it keep its images in a bucket."""
    projects.edit(
        cms / "cms/settings/base.py",
        (r"^import|^from pathlib", "import os\nimport dj_database_url\nfrom pathlib"),
        (r"^DATABASES = \{.*?^\}", 'DATABASES = {"default": dj_database_url.config()}'),
        (r"^STATIC_ROOT = [^\n]*", 'STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "static")'),
        (r"^    .django.contrib.sessions.,", '    "django.contrib.sessions",\n    "django.contrib.postgres",'),
        (r"^    .django.contrib.sessions.m", f'    {WHITENOISE}\n    "django.contrib.sessions.m'),
        (r"django.core.files.storage.FileSystemStorage", "storages.backends.s3.S3Storage"),
    )
    projects.edit(
        cms / "cms/settings/production.py",
        (r"^DEBUG = False", 'DEBUG = False\nSECRET_KEY = os.environ["SECRET_KEY"]'),
        (r"^DEBUG = False", 'DEBUG = False\nALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")'),
        (r"^DEBUG = False", 'DEBUG = False\nAWS_STORAGE_BUCKET_NAME = os.environ["BUCKET"]'),
    )
    serve = 'path("media/<path:path>", lambda _request, path: FileResponse(default_storage.open(path))),'
    imports = "from django.core.files.storage import default_storage\nfrom django.http import FileResponse"
    projects.edit(
        cms / "cms/urls.py",
        (r"^from django.urls", f"{imports}\nfrom django.urls"),
        (r"^urlpatterns = \[", f"urlpatterns = [\n    {serve}"),
    )
