"""Holds: decisions about a service, such as a rollback, that commands record on its hosts and later deploys respect.

A hold is a small managed file on every host of the service, /etc/plainstack/app/SERVICE.KIND, with lines NAME=VALUE.
Holds are recorded only on the hosts, so that every operator sees them. If a host was down when a hold was set, the next
deploy writes it there.

- To set or end a hold, a command passes the Observer a function that changes `stack.held` (`Observer.change`). Roles
  then declare the effect of the hold, and `files` declares its file in the same transaction. So the file is written
  exactly on the hosts on which the hold is in effect, a plan shows it, and a failed transaction removes it again.
- Before anything is planned, `facts` prints the files of a host, and `read` returns the stack with the holds of all
  hosts; roles that run services use it as their `holds`. The newest hold of a service applies to all its hosts.
- All other code reads `stack.held`, such as plainstack.services.release.wanted and, for plans, `sentences`.

To add a kind of hold, add a model and a field to plainstack.inventory.held, add a sentence to `sentences`, and read
`stack.held.KIND` where resources are declared. The functions for files and facts need no change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, get_args

from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Run
from plainstack.engine.resources import File
from plainstack.errors import InventoryError
from plainstack.inventory.held import Held, Hold, Pinned
from plainstack.inventory.stack import Stack
from plainstack.services import processes, release
from plainstack.services.release_steps import switch_step
from plainstack.services.variables import FOLDER

_MODELS: Mapping[str, type[Hold]] = {
    kind: get_args(field.annotation)[1] for kind, field in Held.model_fields.items() if kind != "aside"
}

# On a host without holds, this starts no process.
_FACTS = """\
for hold in {globs}; do
    [ -e "$hold" ] || continue
    name=${{hold##*/}}
    sed -n "s/^\\([a-z]*\\)=/hold.$name.\\1=/p" "$hold"
done
"""


def path(service: str, kind: str) -> str:
    """Return the path of a hold's file on a host."""
    return f"{FOLDER}/{service}.{kind}"


def facts() -> str:
    """Return the script that prints the holds of all services of a host."""
    return _FACTS.format(globs=" ".join(f"${{ROOT:-}}{path('*', kind)}" for kind in _MODELS))


def files(stack: Stack, service: str) -> Iterator[File]:
    """Yield the files of a service's holds, as resources of each of its hosts."""
    for kind in _MODELS:
        hold: Hold | None = getattr(stack.held, kind).get(service)
        if hold is not None:
            yield File(path=path(service, kind), content=_text(hold).encode())


def _text(hold: Hold) -> str:
    values = hold.model_dump()
    lines = [f"{name}={value if isinstance(value, str) else ' '.join(value)}\n" for name, value in values.items()]
    return "".join(["# Written by Plainstack, and respected by inv deploy; inv plan describes it.\n", *lines])


def of_host(service: str, facts: Mapping[str, str]) -> Mapping[str, Hold]:
    """Return the holds of a service on one host by kind, from the facts of the host."""
    found = {}
    for kind, model in _MODELS.items():
        prefix = f"hold.{service}.{kind}."
        values = {name.removeprefix(prefix): value for name, value in facts.items() if name.startswith(prefix)}
        if values:
            found[kind] = model.model_validate(_fields(model, values))
    return found


def _fields(model: type[Hold], values: Mapping[str, str]) -> dict[str, Any]:
    """Return a model's fields; leave out lines that a newer version of Plainstack may have added."""
    words = {name for name, field in model.model_fields.items() if field.annotation is not str}
    return {
        name: tuple(value.split()) if name in words else value
        for name, value in values.items()
        if name in model.model_fields
    }


def newest(service: str, facts: Iterable[Mapping[str, str]]) -> Mapping[str, Hold]:
    """Return the holds of a service by kind, from the facts of all its hosts."""
    found: dict[str, Hold] = {}
    for each in facts:
        for kind, hold in of_host(service, each).items():
            if kind not in found or hold.at > found[kind].at:
                found[kind] = hold
    return found


def read(stack: Stack, observed: Mapping[str, Observed]) -> Stack:
    """Return the stack with the holds of its hosts; a release is no longer pinned if the source has new content."""
    held: dict[str, dict[str, Hold]] = {kind: {} for kind in _MODELS}
    for service in stack.services:
        names = [host.name for host in processes.hosts(stack, service) if host.name in observed]
        for kind, hold in newest(service, [observed[name].facts for name in names]).items():
            if not isinstance(hold, Pinned) or _pins(stack, service, hold):
                held[kind][service] = hold
    return changed(stack, lambda now: now.model_copy(update=held)) if any(held.values()) else stack


def questions(stack: Stack) -> dict[str, str]:
    """Return the script that prints the holds of a host, for each host that runs a service."""
    names = [host.name for service in stack.services for host in processes.hosts(stack, service)]
    return dict.fromkeys(names, facts())


def _pins(stack: Stack, service: str, pinned: Pinned) -> bool:
    """Return whether the source still has content that was rolled back; True if the source cannot be read."""
    try:
        return release.read(stack, service).id in pinned.refused
    except InventoryError:
        return True


def changed(stack: Stack, change: Callable[[Held], Held]) -> Stack:
    """Return a copy of the stack with other holds."""
    return stack.model_copy(update={"held": change(stack.held)})


def unpinned(stack: Stack) -> Stack:
    """Return the stack without pinned releases: for `inv deploy --again`."""
    return changed(stack, lambda held: held.model_copy(update={"pinned": {}}))


def sentences(stack: Stack) -> Iterator[str]:
    """Yield a sentence for each hold in effect, for plans."""
    for service, pinned in stack.held.pinned.items():
        yield stays(service, pinned)


def stays(service: str, pinned: Pinned) -> str:
    """Return the sentence that says since when a service is rolled back, and until when."""
    return f"{rolled_back(service, pinned)}; it stays there until its source changes, or until inv deploy --again"


def notes(stack: Stack, facts: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield each host of a rolled-back service, and a sentence about the rollback; `facts` are those of the hosts.

    The facts may know of a rollback that the stack does not have, because the source has new content now.
    """
    for service in stack.services:
        names = [host.name for host in processes.hosts(stack, service) if host.name in facts]
        pinned = newest(service, [facts[name] for name in names]).get("pinned")
        if not isinstance(pinned, Pinned):
            continue
        if held := stack.held.pinned.get(service):
            yield from ((name, stays(service, held)) for name in names)
        elif not _pins(stack, service, pinned.model_copy(update={"refused": (*pinned.refused, pinned.release)})):
            text = f"{rolled_back(service, pinned)}; its source has new content, which the next deploy releases"
            yield from ((name, text) for name in names)


def refusals(stack: Stack, services: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each of these services whose pinned release a deploy replaces only with --again."""
    for service in services:
        if service in stack.held.pinned:
            yield (
                f"{rolled_back(service, stack.held.pinned[service])}, and its source still has the content that was"
                " rolled back. Change the source, or deploy it anyway: inv deploy --again. To see which release each"
                " host runs: inv releases"
            )


def unfinished(stack: Stack, plans: Mapping[str, HostPlan]) -> Iterator[str]:
    """Yield a sentence for each pinned service that these plans would switch to another release on a host.

    Someone may have deployed the source again there, so a deploy does not decide which release is right.
    """
    for service, pinned in stack.held.pinned.items():
        step = switch_step(service)
        behind = [
            name
            for name, plan in plans.items()
            if any(isinstance(action, Run) and action.command.name == step for _, action in plan.actions())
        ]
        if behind:
            yield (
                f"{rolled_back(service, pinned)}, but {' and '.join(behind)} {'does' if len(behind) == 1 else 'do'} not"
                f" run {pinned.release}. To continue the rollback: inv rollback --service={service}. To deploy the"
                " source again on all hosts: inv deploy --again. To leave hosts out, use --host"
            )


def still_pinned(
    stack: Stack, facts: Mapping[str, Mapping[str, str] | None], reached: Collection[str]
) -> Iterator[str]:
    """Yield a sentence for each service whose pinned release `inv deploy --again` ends on some hosts only.

    `facts` are those of all hosts of the services, None for a host that did not answer; `reached` are the hosts that
    the command deploys.
    """
    for service in stack.services:
        hosts = [host.name for host in processes.hosts(stack, service)]
        known = {name: "pinned" in of_host(service, each) for name in hosts if (each := facts.get(name)) is not None}
        left = [name for name in hosts if name not in reached and known.get(name, name in facts)]
        if left and any(known.values()):
            them = "it" if len(left) == 1 else "them"
            stay = "stays" if len(left) == 1 else "stay"
            silent = [name for name in left if name not in known]
            unsure = f" ({' and '.join(silent)} did not answer)" if silent else ""
            yield (
                f"{service}: {' and '.join(left)}{unsure} {stay} rolled back, and a deploy of the same"
                f" content that includes {them} is refused: inv deploy --again"
            )


def rolled_back(service: str, pinned: Pinned) -> str:
    """Return a clause with the time of a rollback and its operator."""
    back = f" from {pinned.refused[0]}" if pinned.refused else ""
    return f"{service}: rolled back{back} to {pinned.release} on {pinned.at} by {pinned.who}"


def only(service: str, pinned: Mapping[str, Pinned]) -> Callable[[Stack], Stack]:
    """Return a function that pins a service of a stack, or ends its pin, and leaves all other services as they run."""

    def change(stack: Stack) -> Stack:
        others = tuple(name for name in stack.services if name != service)
        return changed(stack, lambda held: held.model_copy(update={"pinned": pinned, "aside": others}))

    return change


def without(service: str) -> Callable[[Stack], Stack]:
    """Return a function that removes a service from a stack."""

    def removed(stack: Stack) -> Stack:
        return stack.model_copy(
            update={"services": {name: one for name, one in stack.services.items() if name != service}}
        )

    return removed


def keys(service: str) -> frozenset[str]:
    """Return the keys of the resources of all holds that a service could have."""
    return frozenset(File(path=path(service, kind), content=b"").key for kind in _MODELS)
