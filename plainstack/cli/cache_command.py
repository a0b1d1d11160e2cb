"""The command behind `inv cache.purge`."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.errors import HostFailed, Refused

if TYPE_CHECKING:
    from plainstack.inventory.stack import Stack
    from plainstack.services.cache import Purge


def purge(inventory: str, paths: list[str], service: str, host: str, *, everything: bool, json: bool) -> None:
    """Run `inv cache.purge`."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.services import cache

        stack = load(inventory)
        if everything and paths:
            raise Refused("--all purges every path, so name none with it")
        wanted = [cache.purge(stack, path, service, everything=everything) for path in paths or [""]]
        counts, failed = _purge(stack, _entrances(stack, host), wanted)
        if json:
            document({"purged": counts, "failed": failed})
        else:
            for name, count in counts.items():
                console.line(f"{name}: {count} response{'' if count == 1 else 's'} purged")
            for error in failed.values():
                console.error(error)
            if failed:
                console.error(f"not purged: {', '.join(failed)}. Repeat the command when they answer")
    if failed:
        raise Exit(code=1)


def _entrances(stack: Stack, host: str) -> list[str]:
    """Return the hosts with a cache that --host selects. Raises Refused."""
    from plainstack.inventory.load import select
    from plainstack.services import cache

    known = [one.name for one in cache.entrances(stack)]
    _, chosen = select(stack, (), "", host)
    if host and (others := [name for name in chosen if name not in known]):
        raise Refused(f"{', '.join(others)}: has no cache; these have one: {', '.join(known)}")
    return [name for name in known if name in chosen]


def _purge(stack: Stack, hosts: list[str], wanted: list[Purge]) -> tuple[dict[str, int], dict[str, str]]:
    """Purge on all hosts at once; return the number of responses, or why it failed, by host."""
    from plainstack.deploy import audit, operator
    from plainstack.deploy.hurry import hurried
    from plainstack.ssh.connections import Sessions, fan_out

    who, commit = operator.who(), operator.commit(stack)
    typed = shlex.join(["inv", *sys.argv[1:]])
    record = audit.started(who, commit, typed, "cache", [one.described() for one in wanted], "done")
    script = "".join(["set -e\n", *(one.script() for one in wanted), record])

    def one(name: str) -> int:
        done = sessions.to(name).script(script, step="purge")
        lines = [line.partition("=") for line in done.out.splitlines()]
        if done.code != 0:
            hint = f"was it deployed since its cache was configured? inv deploy --host={name}"
            raise HostFailed(name, "purge", f"failed ({hint})", done.err.splitlines()[-3:], done.code)
        return sum(int(count) for key, _, count in lines if key == "purged")

    with Sessions(hurried(stack)) as sessions:
        answers = fan_out(hosts, one)
    failed = {name: str(answer) for name, answer in answers.items() if isinstance(answer, HostFailed)}
    return {name: answer for name, answer in answers.items() if not isinstance(answer, HostFailed)}, failed
