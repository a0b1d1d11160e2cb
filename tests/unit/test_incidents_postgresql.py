"""The example application's own tests, against a real PostgreSQL: generated columns, constraints and row locks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.conftest import ROOT

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [pytest.mark.programs, pytest.mark.skipif(not SERVERS, reason="needs a PostgreSQL server")]


@pytest.fixture
def server() -> Iterator[Path]:
    """Start a server that listens only in a folder of its own, whose name is short enough for a socket."""
    who = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    if who:
        shutil.chown(folder, who)

    def run(*words: str | Path) -> None:
        subprocess.run(words, user=who, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    control = [str(SERVERS[-1].with_name("pg_ctl")), "--pgdata=data", "--wait"]
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    try:
        run(SERVERS[-1], "--username=test", "--no-sync", "--auth=trust", "data")
        run(*control, f"--options={options}", "--log=log", "start")
        yield folder
    finally:
        run(*control, "--mode=immediate", "stop")
        shutil.rmtree(folder)


def test_the_applications_tests_pass_on_postgresql(server: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "test", "incidents.tests.test_rounds", "incidents.tests.test_samples"],
        cwd=ROOT / "apps/incidents",
        env={**os.environ, "DB_HOSTS": str(server), "DB_NAME": "app", "DB_USER": "test", "DB_PASSWORD": "unused"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "skipped" not in done.stderr
