"""References in the inventory's values: `${database.url}` stands for a value that the stack knows by that name.

`${database.url|json}` stands for the same value, quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from plainstack.dataclass import dataclass
from plainstack.inventory.quoting import QUOTINGS

_NAME = r"[a-z][a-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_REFERENCE = rf"\$\{{(?P<name>{_NAME})(?:\|(?P<quoting>{'|'.join(QUOTINGS)}))?\}}"
_TOKEN = re.compile(rf"\$\$\{{|{_REFERENCE}|(?P<bad>\$\{{[^}}\n]{{0,40}}\}}?)")
OWN_SECRET = "secret."  # noqa: S105 - the beginning of a name


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A reference in a text; `quoting` is a key of QUOTINGS, or "" for the value itself."""

    name: str
    quoting: str = ""


def parts(text: str) -> list[str | Placeholder]:
    """Split a text into literal parts and references; `$${` is a literal `${`. Raises ValueError on a malformed one."""
    found: list[str | Placeholder] = []
    end = 0
    for token in _TOKEN.finditer(text):
        if token["bad"]:
            name, bar, _ = token["bad"][2:].partition("|")
            if bar and re.fullmatch(_NAME, name):
                known = ", ".join(f"|{quoting}" for quoting in QUOTINGS)
                raise ValueError(f"text in which {token['bad']} ends with a known quoting: {known}")
            raise ValueError(
                f"text whose references are of the form ${{database.url}}: {token['bad']} is none;"
                " write $${ for a literal ${"
            )
        reference = Placeholder(token["name"], token["quoting"] or "") if token["name"] else "${"
        found += [text[end : token.start()], reference]
        end = token.end()
    found.append(text[end:])
    return [part for part in found if part]


def names(text: str) -> list[str]:
    """Return the names that a text refers to, each once."""
    return list(dict.fromkeys(part.name for part in parts(text) if isinstance(part, Placeholder)))


def resolve(text: str, value: Callable[[str], str]) -> str:
    """Return the text with each reference replaced by the result of `value` for its name."""
    return "".join(_value(part, value(part.name)) if isinstance(part, Placeholder) else part for part in parts(text))


def _value(part: Placeholder, value: str) -> str:
    return QUOTINGS[part.quoting](value) if part.quoting else value
