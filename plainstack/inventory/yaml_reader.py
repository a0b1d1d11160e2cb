"""Reads YAML text as plain data with the line of every key, within limits, without YAML's surprising conversions.

A key is always the text that was written. Values follow YAML 1.1 as PyYAML reads it, with these exceptions: a date is
text; a number that would be read as a different number (0644, 22:22) is an error; and so is any tag other than YAML's
basic types.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Any

import yaml

from plainstack.dataclass import dataclass
from plainstack.errors import InventoryError
from plainstack.inventory.yaml_limits import CONTROL, LOADER, Unreadable, check_text, check_tree
from plainstack.wording import Loc, dotted, shortened

MAX_DIGITS = 18

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_TEXT = (_TAG + "str", _TAG + "timestamp", _TAG + "value")
_BOOLEANS = {**dict.fromkeys(("yes", "true", "on"), True), **dict.fromkeys(("no", "false", "off"), False)}
# YAML 1.1 reads 0644 as octal and 22:22 as base 60.
_MISREAD = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


Line = tuple[int, int]
"""The index of the file in a Text's names, and the line in that file."""


@dataclass
class Text:
    """The content of YAML files: data, the line of every place, the scalars as written, and the problems found.

    `data` is None if the text is not a mapping. `names` are the files' names in errors.
    """

    data: dict[str, Any] | None = None
    names: list[str] = field(default_factory=list)
    lines: dict[Loc, Line] = field(default_factory=dict)
    written: dict[Loc, str] = field(default_factory=dict)
    problems: list[tuple[Line, str]] = field(default_factory=list)

    def line(self, loc: Loc) -> Line:
        """Return the line of a place, or of the nearest place above it that is in the text."""
        while loc not in self.lines and loc:
            loc = loc[:-1]
        return self.lines.get(loc, (0, 1))

    def place(self, loc: Loc) -> str:
        """Return the place as file:line."""
        return self.shown(self.line(loc))

    def shown(self, line: Line) -> str:
        """Return a line as file:line."""
        return f"{self.names[line[0]]}:{line[1]}"


def read(text: str, name: str) -> Text:
    """Parse a text. Raises InventoryError, with `name` and the line, if it is not valid YAML or exceeds the limits."""
    try:
        check_text(text)
        root = yaml.compose(text, Loader=LOADER)
        found = Text(names=[name])
        if isinstance(root, yaml.MappingNode):
            check_tree(root)
            found.data = _Reader(found).value(root, ())
        return found
    except Unreadable as error:
        raise InventoryError([f"{name}:{error.line}: {error}"]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = shortened(str(error.problem or error.context))
        raise InventoryError([f"{name}:{mark.line + 1 if mark else 1}: not valid YAML: {what}"]) from None
    except yaml.YAMLError as error:
        what = shortened(str(error).partition("\n")[0])
        raise InventoryError([f"{name}:1: not valid YAML: {what}"]) from None


class _Reader:
    """Converts nodes to data, and records lines and problems."""

    def __init__(self, found: Text) -> None:
        self._found = found

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        self._found.lines.setdefault(loc, (0, node.start_mark.line + 1))
        if isinstance(node, yaml.ScalarNode):
            self._found.written[loc] = node.value
            return self._scalar(node, loc)
        if node.tag != _TAG + ("map" if isinstance(node, yaml.MappingNode) else "seq"):
            self._tag(node, loc)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        return [self.value(item, (*loc, position)) for position, item in enumerate(node.value)]

    def _problem(self, node: yaml.Node, loc: Loc, what: str) -> None:
        self._found.problems.append(((0, node.start_mark.line + 1), f"{dotted(loc) or 'top level'}: {what}"))

    def _tag(self, node: yaml.Node, loc: Loc) -> None:
        tag = node.tag.replace(_TAG, "!!", 1) if node.tag.startswith(_TAG) else node.tag
        self._problem(node, loc, f"the tag {shortened(tag)} has no meaning in an inventory; remove it")

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        data: dict[str, Any] = {}
        first: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, loc, "a key must be a plain word")
            elif key.tag == _MERGE:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                line = key.start_mark.line + 1
                here = (*loc, key.value)
                if key.value in first:
                    self._problem(key, here, f"given twice, first on line {first[key.value]}")
                    continue
                first[key.value] = line
                self._found.lines[here] = (0, line)
                data[key.value] = self.value(value, here)
        for source in merged:
            self._merge(source, loc, data)
        return data

    def _merge(self, source: yaml.Node, loc: Loc, data: dict[str, Any]) -> None:
        """Add the keys of a merged mapping (<<) that `data` does not have yet: of several mappings, the first wins."""
        if not isinstance(source, yaml.MappingNode):
            self._problem(source, loc, "'<<' takes a mapping, or a list of mappings")
            return
        # The merged mapping is read into a Text of its own, so that its lines do not replace those of keys given here.
        there = Text()
        extra = _Reader(there)._mapping(source, loc)
        self._found.problems += [item for item in there.problems if item not in self._found.problems]
        for key in extra.keys() - data.keys():
            data[key] = extra[key]
            here = (*loc, key)
            self._found.lines.update({at: line for at, line in there.lines.items() if at[: len(here)] == here})
            self._found.written.update({at: text for at, text in there.written.items() if at[: len(here)] == here})

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        text, tag = node.value, node.tag
        shown = shortened(text)
        if CONTROL.search(text):
            self._problem(node, loc, "contains a control character")
        elif tag in _TEXT:
            return text
        elif tag == _TAG + "null":
            return None
        elif tag == _TAG + "bool" and text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        elif tag in (_TAG + "int", _TAG + "float"):
            return self._number(node, loc)
        else:
            self._tag(node, loc)
        return shown

    def _number(self, node: yaml.ScalarNode, loc: Loc) -> int | float | str:
        text = node.value.replace("_", "")
        digits = sum(character.isdigit() for character in text)
        if digits > MAX_DIGITS:
            self._problem(node, loc, f"is a number of {digits} digits; put it in quotes if it is text")
        elif _MISREAD.fullmatch(node.value):
            read = f"{_misread(text):g}" if "." in text else str(int(_misread(text)))
            self._problem(
                node, loc, f"YAML reads {text} as the number {read}; write {read}, or '{text}' in quotes if it is text"
            )
        else:
            try:
                return float(text) if node.tag == _TAG + "float" else int(text, 0)
            except ValueError:
                self._problem(node, loc, f"is not a number that can be used here: {shortened(text)}")
        return 0


def _misread(text: str) -> float:
    """Return the number that YAML 1.1 reads from text such as 0644 or 22:22."""
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("+-")
    if ":" not in text:
        return sign * int(text, 8)
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return sign * total
