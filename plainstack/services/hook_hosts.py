"""When a deploy that does not reach all hosts of a service is refused because of hooks with `once`."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping

from plainstack.engine.role import Answers
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Hook
from plainstack.inventory.stack import Stack
from plainstack.services import release
from plainstack.services.hooks import Phase, once_host
from plainstack.services.places import home
from plainstack.services.processes import hosts, runner

Deployed = Mapping[str, Collection[str]]
"""The roles that a command deploys to each host that it has reached."""


def facts(stack: Stack) -> Iterator[str]:
    """Yield a line of shell for each service with such hooks, which prints its release and the hooks that have run."""
    for name, service in stack.services.items():
        if _once(service.before) or _once(service.after):
            folder = f"${{ROOT:-}}{shlex.quote(home(name))}"
            done = f"$(cd {folder}/releases 2>/dev/null && echo */hooks/*)"
            yield f"echo \"hooks.{name}=$(readlink {folder}/current | sed 's|.*/||') {done}\""


def refusals(stack: Stack, answers: Answers, deployed: Deployed) -> Iterator[str]:
    """Yield why a deploy must not give some hosts of a service a new release now.

    A hook `before` would not have run yet if its host is left out; a hook `after` would run before all hosts have
    started the release if another host is left out.
    """
    for name, service in stack.services.items():
        before, after = _once(service.before), _once(service.after)
        everywhere = hosts(stack, name)
        reached = [host for host in everywhere if runner(host) in deployed.get(host.name, ())]
        if not (before or after) or not reached or len(reached) == len(everywhere):
            continue
        wanted = release.wanted(stack, name)
        changed = [host for host in reached if _runs(answers, name, host) != wanted.id]
        if wanted.pinned or not changed:
            continue
        first, last = once_host(stack, name, "before"), once_host(stack, name, "after")
        if first not in reached:
            for hook in before:
                if f"{wanted.id}/hooks/before.{hook}" not in _words(answers, name, first):
                    says = f"runs once for each release, on {first.name}, before any host switches to it"
                    yield _sentence(name, "before", hook, says, [first], answers, deployed)
        missing = [host for host in everywhere if host not in reached and _runs(answers, name, host) != wanted.id]
        if last in changed and missing:
            for hook in after:
                says = f"runs once for each release, on {last.name}, when all hosts have started it"
                yield _sentence(name, "after", hook, says, missing, answers, deployed)


def _once(hooks: Mapping[str, Hook]) -> list[str]:
    return [name for name, hook in hooks.items() if hook.once]


def _words(answers: Answers, service: str, host: Host) -> list[str]:
    return ((answers.get(host.name) or {}).get(f"hooks.{service}") or "").split(" ")


def _runs(answers: Answers, service: str, host: Host) -> str:
    return _words(answers, service, host)[0]


def _sentence(
    service: str,
    phase: Phase,
    hook: str,
    says: str,
    missing: Iterable[Host],
    answers: Answers,
    deployed: Deployed,
) -> str:
    silent = [host.name for host in missing if answers.get(host.name) is None]
    names = silent or [host.name for host in missing]
    are = "is" if len(names) == 1 else "are"
    if silent:
        them = "it" if len(names) == 1 else "them"
        todo = f"Repair {' and '.join(names)}, or remove {them} from the inventory, and repeat the command"
        what = f"{' and '.join(names)} cannot be reached"
    else:
        what = f"{' and '.join(names)} {are} left out by --host or --role"
        todo = f"Include {' and '.join(names)}: --host={','.join([*deployed, *names])}"
        if any(name in deployed for name in names):
            todo = "Repeat the command without --role"
    return f"services.{service}.{phase}.{hook} {says}, and {what}. {todo}"
