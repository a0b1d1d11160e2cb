"""Proxy commands of an SSH configuration: whether one only carries bytes, or runs an SSH client of its own.

A client that a proxy command runs logs in to a machine that is pinned nowhere in the stack. It may stand in the command
itself, or in a script that the command runs; what a compiled program does cannot be seen.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_CLIENTS = {"ssh", "slogin", "autossh", "sshpass", "plink", "dbclient", "mosh"}
_BEFORE_A_COMMAND = {"exec", "env", "command", "nohup", "setsid", "sudo", "time", "timeout", "then", "do", "else", "!"}
_BEFORE = re.compile(r"\w+=.*|-\S+|\d+[smh]?")
_INTERPRETER = re.compile(r"(ba|da|k|z)?sh|python[\d.]*|perl|ruby|node")
_TALK = {"echo", "printf", "logger", "print", "log", "die", "warn"}
# A script of a person's own is short, and calls few others.
_LONGEST, _DEEPEST = 100_000, 3


def runs_ssh(command: str) -> str:
    """Where a command line runs an SSH client: "here", or the file and line of a script; empty when it does not."""
    return _search(command, 0, set())


def _search(text: str, depth: int, seen: set[Path]) -> str:
    for words in _commands(text):
        name = words[0].rpartition("/")[2]
        if name in _CLIENTS:
            return "here"
        if _INTERPRETER.fullmatch(name):
            words = [word for word in words[1:] if not word.startswith("-")]
        # Programs on the PATH that a script calls are not its author's.
        own = words and (depth == 0 or "/" in words[0])
        if own and depth < _DEEPEST and (found := _in_script(words[0], depth + 1, seen)):
            return found
    return ""


def _commands(text: str) -> Iterator[list[str]]:
    """The commands in a text, each from its name on; a word inside quotes may be one, for another shell to run."""
    for part in re.split(r"[;|&()'\"`\n]+", text):
        words = part.split()
        while words and (words[0] in _BEFORE_A_COMMAND or _BEFORE.fullmatch(words[0])):
            # SSH=/usr/bin/ssh, for a later $SSH
            _, assigned, value = words.pop(0).partition("=")
            if assigned and value.rpartition("/")[2] in _CLIENTS:
                words = [value]
        if words:
            yield words


def _in_script(name: str, depth: int, seen: set[Path]) -> str:
    """Where a script runs an SSH client; empty for a program that is no text."""
    path = _file(name)
    if path is None or path in seen:
        return ""
    seen.add(path)
    if path.name in _CLIENTS:
        return "here"
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST)
    except OSError:
        return ""
    if b"\0" in content:
        return ""
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        first = re.match(r"\s*(\w+)", line)
        if line.lstrip().startswith("#") or (first and first[1] in _TALK):
            continue
        if found := _search(line, depth, seen):
            return f"{path}:{number}" if found == "here" else found
    return ""


def _file(name: str) -> Path | None:
    """The file that a word of a command line names, without links."""
    place = os.path.expandvars(name) if "/" in name else shutil.which(name)
    if not place:
        return None
    try:
        path = Path(place).expanduser().resolve()
    except RuntimeError:
        # ~ of an account that does not exist, or a loop of links
        return None
    return path if path.is_file() else None
