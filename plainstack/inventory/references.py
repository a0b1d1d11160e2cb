"""References in the inventory's values: `${database.url}` stands for a value that the stack knows by that name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_NAME = r"[a-z][a-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_TOKEN = re.compile(rf"\$\$\{{|\$\{{(?P<name>{_NAME})\}}|(?P<bad>\$\{{[^}}\n]{{0,40}}\}}?)")
OWN_SECRET = "secret."  # noqa: S105 - the beginning of a name


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A reference in a text."""

    name: str


def parts(text: str) -> list[str | Placeholder]:
    """Split a text into literal parts and references; `$${` is a literal `${`. Raises ValueError on a malformed one."""
    found: list[str | Placeholder] = []
    end = 0
    for token in _TOKEN.finditer(text):
        if token["bad"]:
            raise ValueError(
                f"text whose references are of the form ${{database.url}}: {token['bad']} is none;"
                " write $${ for a literal ${"
            )
        found += [text[end : token.start()], Placeholder(token["name"]) if token["name"] else "${"]
        end = token.end()
    found.append(text[end:])
    return [part for part in found if part]


def names(text: str) -> list[str]:
    """Return the names that a text refers to, each once."""
    return list(dict.fromkeys(part.name for part in parts(text) if isinstance(part, Placeholder)))


def resolve(text: str, value: Callable[[str], str]) -> str:
    """Return the text with each reference replaced by the result of `value` for its name."""
    return "".join(value(part.name) if isinstance(part, Placeholder) else part for part in parts(text))
