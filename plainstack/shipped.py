"""Where the files that come with Plainstack are: templates, files, checks and example applications."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_INSTALLED = PACKAGE / "_shipped"

ROOT = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent
TEMPLATES = ROOT / "templates"
FILES = ROOT / "files"
CHECKS = ROOT / "checks"
APPS = ROOT / "apps"
INVENTORY = ROOT / "hosts.yaml"
