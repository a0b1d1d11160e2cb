"""Limits on YAML input: reject text that would be too expensive to load or would crash the parser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 20

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A character that YAML does not allow; the parser itself checks the use of tabs.
CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Unreadable(Exception):
    """The text is rejected as a whole; the message says why, and `line` where."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def check_text(text: str) -> None:
    """Reject text that is too expensive to load or would crash the parser. Raises Unreadable."""
    if len(text) > MAX_BYTES:
        raise Unreadable(1, f"has more than {MAX_BYTES:,} characters, the limit for an inventory")
    if bad := CONTROL.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise Unreadable(line, f"not valid YAML: contains the control character U+{ord(bad.group()):04X}")
    depth = documents = 0
    for event in yaml.parse(text, Loader=LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if depth > MAX_DEPTH:
            raise Unreadable(line, f"nested deeper than {MAX_DEPTH} levels")
        if documents > 1:
            raise Unreadable(line, "a second YAML document begins here; an inventory is one document")


def check_tree(root: yaml.Node) -> None:
    """Reject a document that is too large once its aliases are expanded, without expanding them. Raises Unreadable."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, above: int) -> int:
        line = node.start_mark.line + 1
        if id(node) in open_nodes:
            raise Unreadable(line, "an alias refers to a value that contains the alias")
        if above > MAX_DEPTH:
            raise Unreadable(line, f"nested deeper than {MAX_DEPTH} levels")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            total = 1 + sum(size(child, above + 1) for child in _children(node))
            open_nodes.discard(id(node))
            if total > MAX_NODES:
                raise Unreadable(
                    line, f"has more than {MAX_NODES:,} keys and values with its aliases expanded, the limit"
                )
            sizes[id(node)] = total
        return sizes[id(node)]

    size(root, 1)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
