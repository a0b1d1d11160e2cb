"""The text of a snippet: the errors in it that need no web server, and the locations that it defines.

The language is that of nginx's ngx_conf_read_token: words and quoted words up to `;`, `{` and `}`; comments from `#`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from plainstack.dataclass import dataclass

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*) | (?P<mark>[;{}]) |
        (?P<word>"(?:\\.|[^"\\])*"(?=[\s;{)]|$) | '(?:\\.|[^'\\])*'(?=[\s;{)]|$) |
                 (?!["'])(?:\\.|[^\s;{}\\]|\\$)(?:\\.|(?<=\$)\{|[^\s;{\\]|\\$)*) |
        (?P<open>["']) """,
    re.X | re.S,
)
# The space after a location's modifier may be missing.
_MODIFIER = re.compile(r"^(=|\^~|~\*?|)")


@dataclass(frozen=True)
class Directive:
    """A directive that is in no block of the snippet: its line and its words, without quotes."""

    line: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class Broken(Exception):
    """The text cannot be a part of a configuration; `problem` is the end of a sentence."""

    line: int
    problem: str


def directives(content: bytes) -> list[Directive]:
    """Return the outer directives of a snippet. Raises Broken."""
    if content.startswith(b"\xef\xbb\xbf"):
        raise Broken(1, "begins with a byte order mark. Save it as UTF-8 without BOM")
    found: list[Directive] = []
    opened: list[int] = []
    words: list[str] = []
    first = 0
    for line, kind, text in _tokens(content.decode("utf-8", "surrogateescape")):
        if kind == "word":
            first = first if words else line
            words.append(text)
            continue
        if kind == "open":
            raise Broken(line, f"a text that begins with {text} is not closed, or is followed by another character")
        if text == "}" and words:
            raise Broken(first, f"{words[0]} does not end with ';'")
        if text == "}" and not opened:
            raise Broken(line, "closes a block that the file has not opened. Remove this '}'")
        if text != "}" and not words:
            raise Broken(line, f"there is nothing before this '{text}'")
        if text == "}":
            opened.pop()
            continue
        if not opened:
            found.append(Directive(first, tuple(words)))
        if text == "{":
            opened.append(first)
        words = []
    if words:
        raise Broken(first, f"{words[0]} does not end with ';'")
    if opened:
        raise Broken(opened[-1], "the block that begins here is not closed. Add a '}'")
    return found


def locations(found: list[Directive]) -> Iterator[tuple[int, str]]:
    """Yield the line and the path of each location; that of an exact one, as `= /path`."""
    for one in found:
        if one.words[0] == "location" and len(one.words) in (2, 3):
            modifier, path = one.words[1:] if len(one.words) == 3 else _MODIFIER.split(one.words[1], maxsplit=1)[1:]
            if modifier in ("", "^~", "="):
                yield one.line, f"= {path}" if modifier == "=" else path


def _tokens(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, kind and text of each token."""
    line, place = 1, 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        assert token, "every character begins a token"
        kind = str(token.lastgroup)
        if kind != "skip":
            yield line, kind, token[0].strip("\"'") if kind == "word" else token[0]
        if kind == "open":
            return
        line += token[0].count("\n")
        place = token.end()
