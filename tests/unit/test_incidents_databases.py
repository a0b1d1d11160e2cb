"""The example application's own tests, against real servers: generated columns, constraints, collations, row locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mariadb, postgresql
from tests.unit.conftest import ROOT

pytestmark = pytest.mark.programs


def passes(host: Path, engine: str, user: str, password: str, *options: str) -> None:
    known = {"DATABASE_ENGINE": engine, "DB_HOSTS": str(host), "DB_NAME": "app"}
    done = subprocess.run(
        [sys.executable, "manage.py", "test", "incidents", *options],
        cwd=ROOT / "apps/incidents",
        env={**os.environ, **known, "DB_USER": user, "DB_PASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "skipped" not in done.stderr


@postgresql.needed
def test_the_applications_tests_pass_on_postgresql() -> None:
    with postgresql.running() as folder:
        passes(folder, "postgresql", "test", "unused")


@mariadb.needed
def test_the_applications_tests_pass_on_mariadb() -> None:
    with mariadb.running() as socket:
        passes(socket, "mysql", "test", mariadb.PASSWORD, "--exclude-tag=plans")
