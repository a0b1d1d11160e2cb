"""An inventory with all defaults: every value in effect, and the file and line that it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from plainstack.dataclass import dataclass
from plainstack.inventory.keys import HIDDEN
from plainstack.inventory.stack import Stack
from plainstack.inventory.yaml_reader import Text
from plainstack.wording import Loc

DEFAULT = "default"


@dataclass(frozen=True)
class Value:
    """A value in effect, and its origin: file:line, or `default`."""

    loc: Loc
    value: Any
    origin: str


def values(stack: Stack, found: Text) -> Iterator[Value]:
    """Yield every value of a stack, in the models' order; parts of a URL that may be secret are masked."""
    data = stack.model_dump(mode="json", exclude={*HIDDEN})
    for host in data["hosts"].values():
        host.pop("name", None)
    yield from _leaves(data, (), found)


def _leaves(data: Any, loc: Loc, found: Text) -> Iterator[Value]:
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _leaves(value, (*loc, key), found)
    elif data is not None and data != {}:
        yield Value(loc, _masked(data), found.place(loc) if loc in found.lines else DEFAULT)


def _masked(value: Any) -> Any:
    """Mask the user, path and query of a URL: any of them may be a credential."""
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        return value
    parts = urlsplit(value)
    host = parts.netloc.rpartition("@")[2]
    hidden = "@" in parts.netloc or parts.path.strip("/") or parts.query
    return f"{parts.scheme}://{host}/***" if hidden else value


def as_yaml(shown: list[Value]) -> Iterator[str]:
    """Yield the values as lines of an inventory, each with its origin as a comment."""
    lines: list[tuple[str, str]] = []
    above: Loc = ()
    for item in shown:
        for depth, key in enumerate(item.loc):
            if item.loc[: depth + 1] != above[: depth + 1]:
                last = depth == len(item.loc) - 1
                text = f"{'  ' * depth}{_flow(key)}:{' ' + _flow(item.value) if last else ''}"
                lines.append((text, item.origin if last else ""))
        above = item.loc
    width = min(max((len(text) for text, origin in lines if origin), default=0), 60)
    for text, origin in lines:
        yield f"{text:<{width}}  # {origin}" if origin else text


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
