"""Help for commands whose first word is no option: invoke's parser takes `--help` there for that word."""

from __future__ import annotations

from invoke.exceptions import Exit
from invoke.program import Program


def help_if_asked(word: str, program: Program, task: str) -> None:
    """Print the help of `task` and end when that is what `word` asks for."""
    if word in ("-h", "--help"):
        program.print_task_help(task)
        raise Exit(code=0)
