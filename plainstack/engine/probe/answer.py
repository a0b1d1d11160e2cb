"""A probe's output -> Observed. Each line of the output is a tag, a tab and a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from plainstack.engine.kinds.kind import Lines
from plainstack.engine.kinds.registry import LOOKS
from plainstack.engine.observed import Entry, Observed, Unfinished
from plainstack.errors import PlainstackError

_FIELDS = 7


def parse(text: str, root: str = "") -> Observed:
    """Parse a probe's output. Raises PlainstackError if it is truncated or not the output of a probe.

    `root` is the directory tree that a test probed instead of the host's root.
    """
    output = text.splitlines()
    if output[:1] != ["probe 2"] or output[-1] != "end":
        raise PlainstackError("the probe's answer is cut short: " + " / ".join(output[-3:]))
    lines: dict[str, list[str]] = {}
    for line in output:
        tag, _, rest = line.partition("\t")
        lines.setdefault(tag, []).append(rest.replace(f"{root}/", "/", 1) if root else rest)
    kept: Mapping[str, Any] = {field: read(lines) for field, read in _KEPT.items()}
    seen = replace(Observed(), **kept)
    for look in LOOKS:
        seen = look.read(seen, lines)
    return seen


def _manifest(lines: Lines) -> dict[str, tuple[Entry, ...]]:
    entries: dict[str, list[Entry]] = {}
    for line in lines.get("manifest", ()):
        role, *fields = line.split("\t")
        if len(fields) >= 3:
            entries.setdefault(role, []).append(Entry(*fields[:_FIELDS]))
    return {role: tuple(same) for role, same in entries.items()}


def _guards(lines: Lines) -> dict[str, bool]:
    tests = (line.split("\t") for line in lines.get("test", ()))
    return {name: code == "0" for code, name in tests}


def _stamps(lines: Lines) -> dict[str, str]:
    stamps = (line.split("\t") for line in lines.get("stamp", ()))
    return {unit: stamp for unit, stamp, *_ in stamps}


def _facts(lines: Lines) -> dict[str, str]:
    facts = (line.partition("=") for line in lines.get("fact", ()))
    return {key: value for key, _, value in facts}


def _guard_left(lines: Lines) -> int | None:
    left = _last("guard-pending")(lines)
    return int(left) if left else None


def _unfinished(lines: Lines) -> Unfinished:
    now, until = _last("ending")(lines), _last("ending-until")(lines)
    left = int(until) - int(now) if now and until else None
    return Unfinished(_last("ending-step")(lines), left, _last("ending-progress")(lines))


def _last(tag: str) -> Callable[[Lines], str]:
    return lambda lines: (lines.get(tag) or [""])[-1]


def _all(tag: str) -> Callable[[Lines], tuple[str, ...]]:
    return lambda lines: tuple(lines.get(tag, ()))


def _any(tag: str) -> Callable[[Lines], bool]:
    return lambda lines: tag in lines


_KEPT: Mapping[str, Callable[[Lines], object]] = {
    "manifest": _manifest,
    "stamps": _stamps,
    "guards": _guards,
    "facts": _facts,
    "leftovers": _all("leftover"),
    "generation": _last("generation"),
    "lock": _last("lock"),
    "guard_pending": _any("guard-pending"),
    "guard_left": _guard_left,
    "ending": _any("ending"),
    "unfinished": _unfinished,
}
