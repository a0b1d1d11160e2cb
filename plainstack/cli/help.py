"""Positional arguments: Invoke has no optional ones, and takes --help as the value of a required one."""

from __future__ import annotations

from itertools import pairwise

from invoke.exceptions import Exit
from invoke.program import Program


def help_if_asked(word: str, program: Program, task: str) -> None:
    """Print the help of `task` and exit if `word`, its positional argument, is -h or --help."""
    if word in ("-h", "--help"):
        program.print_task_help(task)
        raise Exit(code=0)


def name_word(program: Program, task: str, option: str) -> None:
    """Rewrite `TASK WORD:WORD` to `TASK --OPTION=WORD:WORD`, which makes the argument optional.

    Call it while the tasks are being loaded, before Invoke parses their arguments. No task name contains a colon.
    """
    words: list[str] = getattr(getattr(program, "core", None), "unparsed", [])
    for place, (before, word) in enumerate(pairwise(words), start=1):
        if before == task and ":" in word and not word.startswith("-"):
            words[place] = f"--{option}={word}"
