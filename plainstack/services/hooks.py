"""The commands that belong to a service's release: which host runs each, and how sh runs it as systemd would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Literal

from plainstack.dataclass import dataclass
from plainstack.inventory import references
from plainstack.inventory.sections import Host
from plainstack.inventory.services import Service
from plainstack.inventory.stack import Stack
from plainstack.services.processes import hosts
from plainstack.services.rolling import ordered
from plainstack.services.variables import Scope

Phase = Literal["before", "after"]
_VARIABLE = re.compile(r"(?P<dollars>\$\$)|(?P<braced>\$\{[A-Za-z_][A-Za-z0-9_]*\})|[\\\"`$]")


@dataclass(frozen=True)
class HookHere:
    """A hook that a host runs: `line` is the command for sh, `said` the command as written in the inventory."""

    phase: Phase
    name: str
    line: str
    said: str
    once: bool
    fatal: bool
    timeout: int


def once_host(stack: Stack, service: str, phase: Phase) -> Host:
    """Return the host that runs the hooks with `once`.

    Before the release starts anywhere, it is the first host that gets its turn; when all have started it, the last.
    """
    order = ordered(stack, hosts(stack, service))
    return order[0 if phase == "before" else -1]


def here(scope: Scope, phase: Phase) -> Iterator[HookHere]:
    """Yield the hooks of a service that a host runs, in the order of the inventory."""
    service = scope.stack.services[scope.service]
    for name, hook in (service.before if phase == "before" else service.after).items():
        if not hook.once or once_host(scope.stack, scope.service, phase) == scope.host:
            line = shell_line(references.resolve(hook.command, scope.value))
            yield HookHere(phase, name, line, hook.command, hook.once, hook.fatal, hook.timeout)


def build_lines(scope: Scope) -> list[tuple[str, str]]:
    """Return the commands that complete a release on a host, each as written in the inventory and as a line for sh."""
    commands = scope.stack.services[scope.service].build.host
    return [(command, shell_line(references.resolve(command, scope.value))) for command in commands]


def identity(service: Service) -> list[str]:
    """Return what distinguishes a release with these commands from one with others; empty without commands."""
    found = [f"build\0{command}" for command in service.build.host]
    for phase, hooks in (("before", service.before), ("after", service.after)):
        found += [f"{phase}\0{name}\0{hook.once}\0{hook.command}" for name, hook in hooks.items()]
    return found


def shell_line(command: str) -> str:
    """Return a line for sh that runs a command as systemd's ExecStart does.

    A word `$NAME` becomes the words of the variable, `${NAME}` in a word its value, and `$$` a dollar sign. No other
    character is special.
    """
    words = shlex.split(command)
    if words and words[0].endswith(".py"):
        words = ["python", *words]
    return "set -f; exec " + " ".join(map(_word, words))


def _word(word: str) -> str:
    if re.fullmatch(r"\$[A-Za-z_][A-Za-z0-9_]*", word):
        return word
    return '"' + _VARIABLE.sub(_escaped, word) + '"'


def _escaped(found: re.Match[str]) -> str:
    if found["dollars"]:
        return r"\$"
    return found[0] if found["braced"] else f"\\{found[0]}"
