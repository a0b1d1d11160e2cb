"""Ctrl-C during a deploy: the first lets every host finish its transaction, the second ends the command at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.test_streams import ROOT, TEXT
from tests.waiting import PATIENCE

# A deploy whose only host never finishes its transaction.
DEPLOY = """
import sys
from threading import Event, Thread
from types import SimpleNamespace as Made
from plainstack.cli import deploy_commands
from plainstack.deploy import deployment, observe
from plainstack.engine.plan.actions import HostPlan, Transaction

class Observer(observe.Observer):
    def findings(self, view): return []
    def observe(self, listener, **_):
        return observe.View(self.stack, plans={"db1": HostPlan("db1", None, (Transaction("db", ()),))})

def deploy(observer, view, listener, command, on_start, **_):
    made = Made(listener=listener, cancelled=Event())
    on_start(made)
    print("deploying", flush=True)
    transaction = Thread(target=Event().wait)
    transaction.start()
    made.cancelled.wait()
    print("cancelled", flush=True)
    transaction.join()

observe.Observer, deployment.deploy = Observer, deploy
deploy_commands.deploy(sys.argv[1], "", "", json=False)
"""


def line_with(process: subprocess.Popen[str], word: str) -> str:
    """Return the next line of the output that contains a word; fail the test if the output ends first."""
    assert process.stdout
    for line in process.stdout:
        if word in line:
            return line
    pytest.fail(f"it ended without saying {word!r}")


def test_a_second_ctrl_c_ends_the_command_although_a_host_is_still_busy(tmp_path: Path) -> None:
    text = TEXT.replace("SOURCE", str(ROOT / "apps/incidents"))
    (tmp_path / "hosts.yaml").write_text(text, encoding="utf-8")
    script = tmp_path / "deploy.py"
    script.write_text(DEPLOY, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "hosts.yaml")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        line_with(process, "deploying")
        process.send_signal(signal.SIGINT)
        assert "every host finishes its transaction" in line_with(process, "interrupted")
        line_with(process, "cancelled")
        process.send_signal(signal.SIGINT)
        assert "Run the same command again to continue" in line_with(process, "exited")
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
