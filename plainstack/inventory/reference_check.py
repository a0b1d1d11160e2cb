"""Checks that the references in the services' values can be resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plainstack.inventory import references, user_templates
from plainstack.inventory.services import Service
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc, did_you_mean, dotted

# The references that every service can use, besides its secrets and the references that roles provide.
OWN = ("service.name", "service.folder", "host.name", "host.address", "release")
IN_PROCESSES = ("port", "number")
IN_DRILLS = ("key", "shard", "prefix")


def unresolved(stack: Stack, provided: Mapping[str, str]) -> Iterator[tuple[Loc, str]]:
    """Yield the place of every reference that has no value; `provided` maps known references to their roles."""
    for service, settings in stack.services.items():
        known = [*OWN, *(f"{references.OWN_SECRET}{name}" for name in settings.secrets)]
        for variable, text in settings.env.items():
            yield from _unknown(stack, ("services", service, "env", variable), text, known, provided)
        yield from _templates(stack, service, settings, known, provided)
        if settings.drill is not None:
            own = [*known[len(OWN) :], *IN_DRILLS]
            for loc, text in _texts(("services", service, "drill"), settings.drill.model_dump()):
                yield from _unknown(stack, loc, text, own, {})
        plain = [one for one in known if not one.startswith(references.OWN_SECRET)]
        for loc, text, more in _commands(service, settings):
            for name in references.names(text):
                if name.startswith(references.OWN_SECRET):
                    yield (
                        loc,
                        f"{dotted(loc)}: ${{{name}}} on a command line could be read by every account of the host;"
                        " pass it as an environment variable",
                    )
            yield from _unknown(stack, loc, text, [*plain, *more], provided, passed_over=references.OWN_SECRET)


def _templates(
    stack: Stack, service: str, settings: Service, known: list[str], provided: Mapping[str, str]
) -> Iterator[tuple[Loc, str]]:
    for target, path in settings.files.items():
        loc: Loc = ("services", service, "files", target)
        try:
            found = list(user_templates.referred(stack.file(path), str(path)))
        except ValueError as error:
            yield loc, f"{dotted(loc)}: {error}"
            continue
        for number, name in found:
            for _, problem in _unknown(stack, loc, f"${{{name}}}", known, provided):
                yield loc, problem.replace(": ", f": {path}:{number}: ", 1)


def _commands(service: str, settings: Service) -> Iterator[tuple[Loc, str, tuple[str, ...]]]:
    """Yield the place and the text of every command of a service, and the references that only it can use."""
    for key in ("processes", "timers", "before", "after"):
        for name, each in getattr(settings, key).items():
            yield ("services", service, key, name, "command"), each.command, IN_PROCESSES if key == "processes" else ()
    for number, text in enumerate(settings.build.host):
        yield ("services", service, "build", "host", number), text, ()


def _texts(loc: Loc, values: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _texts((*loc, key), value)
        else:
            yield (*loc, key), value


def _unknown(
    stack: Stack, loc: Loc, text: str, known: list[str], provided: Mapping[str, str], passed_over: str = ""
) -> Iterator[tuple[Loc, str]]:
    for name in references.names(text):
        if name in known or (passed_over and name.startswith(passed_over)):
            continue
        if name not in provided:
            everything = [*known, *provided]
            hint = did_you_mean(name, everything)
            yield loc, f"{dotted(loc)}: unknown reference ${{{name}}}{hint}; known: {', '.join(sorted(everything))}"
        elif provided[name] and not stack.with_role(provided[name]):
            yield (
                loc,
                f"{dotted(loc)}: ${{{name}}} comes from the role {provided[name]}, and no host has that role",
            )
