"""The operator's name in locks, manifests and logs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

NAMELESS = 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="runs as another user: needs root")
def test_an_operator_without_a_name_or_home_is_identified_by_number() -> None:
    """This is common in containers that run with an arbitrary user ID."""
    code = f"""\
import os, sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parents[3]), *filter(None, sys.path)]!r}
from plainstack.engine import render
from tests import inventories
from plainstack.secrets import age
from plainstack.deploy.operator import who
from plainstack.ssh.connections import Sessions
stack = inventories.load(Path({str(Path(__file__).parents[3] / "hosts.yaml")!r}))
os.setgroups([])
os.setresuid({NAMELESS}, {NAMELESS}, {NAMELESS})
Sessions(stack)
age.Operator(stack)
print(who())
"""
    done = subprocess.run([sys.executable, "-c", code], env={"PATH": os.defpath}, capture_output=True, text=True)
    assert done.stdout == f"{NAMELESS}@{socket.gethostname()}\n", done.stderr
