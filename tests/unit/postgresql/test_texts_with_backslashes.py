"""Backslashes in what operators type and programs print reach logs and answers: `echo` of Debian's sh replaces them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from plainstack.postgresql.restore.facts import questions
from plainstack.postgresql.restore.scratch import PROGRAM
from plainstack.postgresql.restore.situation import RECORDS
from plainstack.postgresql.step_frame import Origin, framed

TEXT = 'C:\\new\\1 "\\c"\n'


def printed(script: str) -> str:
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    return ran.stdout


@pytest.mark.programs
def test_the_audit_log_of_a_step_has_the_command_as_it_was_typed(tmp_path: Path) -> None:
    script = framed("true\n", TEXT, Origin("jane", "-", TEXT), "db")
    for folder in ("/run/", "/var/"):
        script = script.replace(folder, f"{tmp_path}{folder}")
    for folder in ("run/plainstack", "run/lock", "var/lib/plainstack"):
        (tmp_path / folder).mkdir(parents=True)
    printed(script)
    event = json.loads((tmp_path / "var/log/plainstack/audit.jsonl").read_text())
    assert (event["command"], event["actions"], event["result"]) == (TEXT, [TEXT], "done")


@pytest.mark.programs
def test_the_record_of_a_restore_and_the_state_of_its_copy_are_printed_as_they_are(
    stack: Stack, tmp_path: Path
) -> None:
    (script,) = questions(stack).backup.values()
    record = tmp_path / RECORDS[1:] / "1.json"
    program = tmp_path / PROGRAM[1:] / "__main__.py"
    for file, content in ((record, json.dumps(TEXT)), (program, f"import json\nprint(json.dumps({TEXT!r}))\n")):
        file.parent.mkdir(parents=True)
        file.write_text(content)
    script = script.replace(RECORDS, str(record.parent)).replace(PROGRAM, str(program.parent))
    said = dict(line.partition("=")[::2] for line in printed(script).splitlines())
    assert (json.loads(said["request"]), json.loads(said["scratch"])) == (TEXT, TEXT)
