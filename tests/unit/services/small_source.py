"""A small Django source, and the stack that deploys it."""

from __future__ import annotations

from pathlib import Path

from plainstack.inventory.stack import Stack
from tests import inventories

TEXT = """
stack: small
hosts: {h: {address: 10.0.0.1, roles: [app, db]}}
services: {web: {source: src, project: site_}}
database: {name: shop}
"""


def write_source(folder: Path) -> Path:
    """Write the source in a folder, and return its path."""
    source = folder / "src"
    (source / "site_").mkdir(parents=True)
    (source / "site_" / "wsgi.py").write_text("application = None\n")
    (source / "manage.py").write_text("pass\n")
    (source / "requirements.txt").write_text("django==5.2 --hash=sha256:00\n")
    return source


def stack_of(source: Path) -> Stack:
    """Return a stack with the service `web` from this source."""
    return inventories.parse(TEXT, "test.yaml", source.parent)
