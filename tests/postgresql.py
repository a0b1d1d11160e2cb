"""A PostgreSQL server for unit tests; without one on this machine, they are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
needed = pytest.mark.skipif(not SERVERS, reason="needs a PostgreSQL server")


@contextmanager
def running() -> Iterator[Path]:
    """Start a server that listens only in a folder of its own; yield the folder, whose name fits a socket's path.

    Its superuser is `test`, without a password.
    """
    # PostgreSQL refuses to run as root.
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
        try:
            yield folder
        finally:
            run(*control, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)
