"""Positional arguments of tasks: Invoke has no optional ones, and takes --help as the value of a required one."""

from __future__ import annotations

import shlex
from copy import copy
from itertools import pairwise
from typing import Any

from invoke.exceptions import Exit
from invoke.parser.context import to_flag
from invoke.program import Program
from invoke.tasks import Task


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


def name_words(program: Program, task: Task[Any], option: str, called: str = "") -> None:
    """Rewrite every positional word in `TASK WORD...` to `--OPTION=WORD`, at the same time as `name_word`.

    `called` is the task's name as typed, if it differs.
    """
    words = _words(program)
    for place in _bare(words, task, called):
        words[place] = f"--{option}={words[place]}"


def name_command(program: Program, task: Task[Any], option: str) -> None:
    """Rewrite `TASK WORD -- COMMAND...`, or the same without the dashes, to `TASK WORD --OPTION=COMMAND`.

    COMMAND becomes one word with a shell's quoting. Like `name_word`, call it while the tasks are being loaded.
    """
    words = _words(program)
    if task.name not in words:
        return
    command = program.argv[program.argv.index("--") + 1 :] if "--" in program.argv else []
    begin = [*_bare(words, task)[1:], len(words)][0]
    command = [*words[begin:], *command]
    if command:
        program.core.remainder = ""
        words[begin:] = [f"--{option}={shlex.join(command)}"]


def refuse_second_word(program: Program, task: Task[Any], called: str, why: str) -> None:
    """Exit with code 1 and the message `why` if two positional words follow a task that is typed as `called`.

    Otherwise Invoke would take the second word for the name of a task, and print it. Like `name_word`, call it while
    the tasks are being loaded.
    """
    if len(_bare(_words(program), task, called)) > 1:
        raise Exit(why, code=1)


def _words(program: Program) -> list[str]:
    words: list[str] = getattr(getattr(program, "core", None), "unparsed", [])
    return words


def _bare(words: list[str], task: Task[Any], called: str = "") -> list[int]:
    """Return the indexes of a task's positional words; `called` is the task's name as typed, if it differs."""
    called = called or task.name
    if called not in words:
        return []
    # get_arguments() removes the help texts from the task.
    read = copy(task)
    read.help = dict(task.help)
    valued = {to_flag(name) for argument in read.get_arguments() if argument.takes_value for name in argument.names}
    start = words.index(called) + 1
    return [
        place
        for place, word in enumerate(words[start:], start)
        if not word.startswith("-") and (place == start or words[place - 1] not in valued)
    ]
