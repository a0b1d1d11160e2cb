"""Commands that answer at once import little: none loads libraries that only other commands need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plainstack.shipped import ROOT
from tests.waiting import PATIENCE

CONNECTS = {"paramiko", "fabric", "cryptography", "nacl"}
READS = {"pydantic", "plainstack.inventory.stack"}
DRAWS = {"jinja2", "rich"}


def imported(*words: str) -> set[str]:
    """Return the modules that a command imports, and the packages that contain them."""
    line = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    ran = subprocess.run(
        line,
        cwd=ROOT,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    lines = [text for text in ran.stderr.splitlines() if text.startswith("import time:")]
    names = {text.rpartition("|")[2].strip() for text in lines}
    assert "invoke.program" in names
    return names | {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "words",
    [("inv", "--list"), ("inv", "--help"), ("inv", "--help", "deploy"), ("inv", "deploy", "--hots=db1")],
    ids=" ".join,
)
def test_help_and_misspelled_flags_do_not_read_the_inventory(words: tuple[str, ...]) -> None:
    assert not imported(*words) & (CONNECTS | READS | DRAWS)


def test_fab_list_needs_only_fabric() -> None:
    assert not imported("fab", "--list") & (READS | DRAWS)


@pytest.mark.parametrize("command", ["plan", "deploy", "drift"])
def test_a_misspelled_key_is_reported_before_anything_is_rendered_or_connected(tmp_path: Path, command: str) -> None:
    (tmp_path / "hosts.yaml").write_text("stak: shop\n", encoding="utf-8")
    names = imported("inv", command, f"--inventory={tmp_path}/hosts.yaml")
    assert names >= READS
    assert not names & (CONNECTS | DRAWS)


# All that a deploy imports, and the reading of an inventory.
IMPORTS = """
from plainstack.cli import inv
import gc
begun = []
gc.callbacks.append(lambda phase, _: begun.append(phase))
from plainstack.cli import command, deploy_commands
from plainstack.ssh import connections
command.load("hosts.yaml")
from plainstack.deploy import conclusions, deployment, observe
from plainstack.engine import environment
print(len(begun))
"""


def test_imports_are_not_interrupted_by_garbage_collections() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert ran.stdout == "0\n"
