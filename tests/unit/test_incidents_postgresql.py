"""The example application's own tests, against a real PostgreSQL: generated columns, constraints and row locks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import postgresql
from tests.unit.conftest import ROOT

pytestmark = [pytest.mark.programs, postgresql.needed]


def test_the_applications_tests_pass_on_postgresql() -> None:
    with postgresql.running() as folder:
        done = subprocess.run(
            [sys.executable, "manage.py", "test", "incidents.tests.test_rounds", "incidents.tests.test_samples"],
            cwd=ROOT / "apps/incidents",
            env={**os.environ, "DB_HOSTS": str(folder), "DB_NAME": "app", "DB_USER": "test", "DB_PASSWORD": "unused"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "skipped" not in done.stderr
