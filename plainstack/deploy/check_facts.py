"""Facts: what the checks of a host ask it in one exec, each by a name of the check module that goes by it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from plainstack.errors import HostFailed
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack

# What a host answered, by check module and by what the module calls it.
Facts = Mapping[str, Mapping[str, str]]


def gather(stack: Stack, here: Host, modules: Iterable[ModuleType], host: Any) -> Facts:
    """Ask for the facts of these modules; a command that fails gives what it has printed.

    Raises HostFailed when not all of them were asked, as when one is no valid shell.
    """
    wanted = [(one.__name__, key, text) for one in modules for key, text in one.facts(stack, here).items()]
    token = f"@{secrets.token_hex(8)}"
    script = "".join(f"printf '\\n{token}\\n'\n(\n{text}\n) 2>/dev/null </dev/null\n" for _, _, text in wanted)
    done = host.run("sh -c %s", script)
    answers = done.stdout.split(f"\n{token}\n")[1:]
    if len(answers) != len(wanted):
        reason = f"answers {len(answers)} of {len(wanted)} questions"
        raise HostFailed(here.name, "check", reason, done.stderr.splitlines()[-5:], done.rc)
    found: dict[str, dict[str, str]] = {}
    for (module, key, _), answer in zip(wanted, answers, strict=True):
        found.setdefault(module, {})[key] = answer.rstrip("\n")
    return found
