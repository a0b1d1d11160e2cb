"""Checks whether a proxy command of the SSH configuration runs an SSH client, or only carries bytes.

An SSH client in a proxy command logs in to a machine that the stack has not pinned. The client may be in the command
line itself or in a script that it runs; the contents of a compiled program are not checked.
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
# How many bytes of a script are searched, and how deep scripts that run scripts are followed: an operator's own scripts
# are short and call few others.
_LONGEST, _DEEPEST = 100_000, 3


def runs_ssh(command: str) -> str:
    """Return where a command line runs an SSH client: "here", or a script's file and line; empty if it runs none."""
    return _search(command, 0, set())


def _search(text: str, depth: int, seen: set[Path]) -> str:
    for words in _commands(text):
        name = words[0].rpartition("/")[2]
        if name in _CLIENTS:
            return "here"
        if _INTERPRETER.fullmatch(name):
            words = [word for word in words[1:] if not word.startswith("-")]
        # Programs that a script finds on the PATH are not part of the operator's own scripts, so they are not searched.
        own = words and (depth == 0 or "/" in words[0])
        if own and depth < _DEEPEST and (found := _in_script(words[0], depth + 1, seen)):
            return found
    return ""


def _commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in a text, its name first. Quoted text counts too: another shell may run it."""
    for part in re.split(r"[;|&()'\"`\n]+", text):
        words = part.split()
        while words and (words[0] in _BEFORE_A_COMMAND or _BEFORE.fullmatch(words[0])):
            # The text may run $SSH after SSH=/usr/bin/ssh.
            _, assigned, value = words.pop(0).partition("=")
            if assigned and value.rpartition("/")[2] in _CLIENTS:
                words = [value]
        if words:
            yield words


def _in_script(name: str, depth: int, seen: set[Path]) -> str:
    """Return where a script runs an SSH client; empty if it runs none or is a binary program."""
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
    """Return the file that a word of a command line names, with symbolic links resolved."""
    place = os.path.expandvars(name) if "/" in name else shutil.which(name)
    if not place:
        return None
    try:
        path = Path(place).expanduser().resolve()
    except RuntimeError:
        # The path has the ~ of an unknown account, or a loop of symbolic links.
        return None
    return path if path.is_file() else None
