"""How messages show places in an inventory, values and durations: short and on one line, whatever the input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Loc = tuple[str | int, ...]

LONGEST = 80
_PLAIN = re.compile(r"[^\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff'\".:]+")


def dotted(loc: Loc) -> str:
    """Return a place in the inventory as errors name it, such as `hosts.db1.roles`; unusual keys are quoted."""
    return ".".join(_word(str(part)) for part in loc)


def _word(part: str) -> str:
    return shortened(part if _PLAIN.fullmatch(part) else repr(part))


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return the text, or its beginning and its length if it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def quoted(value: Any) -> str:
    """Return a value as messages quote it: its repr(), shortened."""
    # Slice before quoting: repr() of a very long value is slow, and most of it would be thrown away.
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]!r}... ({len(value):,} characters)"
    return shortened(repr(value))


def duration(seconds: float) -> str:
    """Return a duration as messages show it, such as `5 min`; it is rounded down to a whole unit."""
    whole = int(max(0, seconds))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def size(count: float) -> str:
    """Return a number of bytes as messages show it, such as `12 MiB` (IEC 80000-13: a KiB has 1024 bytes)."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def one_of(names: Sequence[str]) -> str:
    """Return names as alternatives, such as `a`, `a or b`, or `a, b or c`."""
    return " or ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def counted(count: int, one: str, several: str = "") -> str:
    """Return a count with its noun, such as `1 host` or `2 hosts`; `several` is an irregular plural."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def did_you_mean(word: str, known: list[str]) -> str:
    """Return the end of a message that suggests the known word closest to `word`; empty if none is close."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""
