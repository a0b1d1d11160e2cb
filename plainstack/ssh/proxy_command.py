"""Whether a proxy command of the SSH configuration only carries bytes, or runs an SSH client of its own.

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
# An operator's own script is short and calls few others.
_LONGEST, _DEEPEST = 100_000, 3


def runs_ssh(command: str) -> str:
    """Where a command line runs an SSH client: "here", or the file and line of a script; empty if it does not."""
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
    """The commands in a text, each from its name on; quoted text counts too, as another shell may run it."""
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
    """Where a script runs an SSH client; empty for a binary program."""
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
    """The file that a word of a command line names, with symbolic links resolved."""
    place = os.path.expandvars(name) if "/" in name else shutil.which(name)
    if not place:
        return None
    try:
        path = Path(place).expanduser().resolve()
    except RuntimeError:
        # ~ of an unknown account, or a loop of symbolic links
        return None
    return path if path.is_file() else None
