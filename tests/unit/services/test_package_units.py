"""Daemons of a service's Debian packages are started once after each boot, unless somebody has stopped them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plainstack.services.package_units import started

pytestmark = pytest.mark.programs

# Programs of a host with redis-server, whose state is in files.
DPKG = """\
case " $* " in *" missing "*) false ;; esac || { echo not installed >&2; exit 1; }
printf '%s\\n' /usr/bin/redis-server /usr/lib/systemd/system/redis-server.service /lib/systemd/system/once.service \\
    /usr/lib/systemd/system/redis-server@.service /usr/lib/systemd/system/off.service
"""
SYSTEMCTL = """\
case $1 in
--quiet) [ "$3" != off.service ] ;;
show) case $3 in once.service) echo Type=oneshot ;; *) echo Type=notify ;; esac
    echo "ConditionTimestampMonotonic=$(cat "$STATE/$3" 2>/dev/null || echo 0)" ;;
start) echo 17 >"$STATE/$2"; echo "started $2" ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path) -> dict[str, str]:
    for name, text in (("dpkg", DPKG), ("systemctl", SYSTEMCTL)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STATE": str(tmp_path)}


def sh(script: str, host: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(["sh", "-euc", f"( {script}\n)"], env=host, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_an_enabled_daemon_is_started_once(host: dict[str, str]) -> None:
    step = started("talks", ["redis-server"])
    assert sh(step.unless or "", host)[0] != 0
    assert sh(step.run, host) == (0, "started redis-server.service\n")
    assert sh(step.unless or "", host) == (0, "")


def test_the_step_is_planned_before_the_package_is_installed(host: dict[str, str]) -> None:
    assert sh(started("talks", ["redis-server", "missing"]).unless or "", host)[0] != 0
    assert sh(started("talks", ["missing"]).unless or "", host)[0] != 0
