"""`inv`, except that some commands print the arguments of their functions instead of calling these."""

from __future__ import annotations

import json
import sys

from invoke.main import program

from plainstack.cli import exec_commands, log_commands


def record(*words: object, **options: object) -> None:
    """Print the arguments."""
    print(json.dumps([*words, options]))  # noqa: T201 - a program


for module, name in (
    (exec_commands, "exec_in"),
    (exec_commands, "console"),
    (exec_commands, "shell"),
    (log_commands, "logs"),
):
    setattr(module, name, record)
program.run(["inv", *sys.argv[1:]])
