"""Words behind a command that are no options: invoke knows only words that must be there."""

from __future__ import annotations

from itertools import pairwise

from invoke.exceptions import Exit
from invoke.program import Program


def help_if_asked(word: str, program: Program, task: str) -> None:
    """Print the help of `task` and end when that is what `word` asks for."""
    if word in ("-h", "--help"):
        program.print_task_help(task)
        raise Exit(code=0)


def name_word(program: Program, task: str, option: str) -> None:
    """Read `TASK WORD:WORD` as `TASK --OPTION=WORD:WORD`, so that the word may be left out.

    To be called while the tasks are loaded: before they are parsed. No task has a colon in its name.
    """
    words: list[str] = getattr(getattr(program, "core", None), "unparsed", [])
    for place, (before, word) in enumerate(pairwise(words), start=1):
        if before == task and ":" in word and not word.startswith("-"):
            words[place] = f"--{option}={word}"
