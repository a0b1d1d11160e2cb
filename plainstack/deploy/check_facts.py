"""Facts: named outputs of the shell commands that check modules declare, all run in one exec on each host."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any

from plainstack.errors import HostFailed
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.wording import counted

# The outputs by check module and name; for a module whose function `facts` is missing or fails, the exception.
Facts = Mapping[str, Mapping[str, str] | Exception]


def gather(stack: Stack, here: Host, modules: Iterable[ModuleType], host: Any) -> Facts:
    """Return the facts of these modules on a host, read in one exec.

    The output of a command counts even if the command fails. Raises HostFailed if the output of any command is missing.
    """
    found: dict[str, dict[str, str] | Exception] = {}
    wanted: list[tuple[dict[str, str], str, str]] = []
    for module in modules:
        answers: dict[str, str] = {}
        try:
            wanted += [(answers, key, text) for key, text in _asked(module)(stack, here).items()]
            found[module.__name__] = answers
        except Exception as error:  # noqa: BLE001 - an error in one module must fail only that module's checks
            found[module.__name__] = error
    token = f"@{secrets.token_hex(8)}"
    script = "".join(
        f"printf '\\n{token}\\n'\nsh -c {shlex.quote(text)} 2>/dev/null </dev/null\n" for _, _, text in wanted
    )
    done = host.run("sh -c %s", script)
    answered = done.stdout.split(f"\n{token}\n")[1:]
    if len(answered) != len(wanted):
        reason = f"printed only {len(answered)} of {counted(len(wanted), 'fact')}"
        raise HostFailed(here.name, "check", reason, done.stderr.splitlines()[-5:], done.rc)
    for (answers, key, _), answer in zip(wanted, answered, strict=True):
        answers[key] = answer.rstrip("\n")
    return found


def _asked(module: ModuleType) -> Callable[[Stack, Host], Mapping[str, str]]:
    asked = getattr(module, "facts", None)
    if not isinstance(asked, FunctionType):
        raise LookupError("a check uses the fixture `facts`, but its module defines no function facts(stack, here)")
    return asked
