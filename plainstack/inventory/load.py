"""Loads hosts.yaml as a Stack. Every error names file:line and the key's path; all errors are reported at once."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from plainstack.errors import InventoryError, Refused
from plainstack.inventory import extends
from plainstack.inventory.keys import HIDDEN, fields_at, is_path, pattern_at, unknown
from plainstack.inventory.listed import listed
from plainstack.inventory.patterns import meaning
from plainstack.inventory.sections import Host
from plainstack.inventory.shape import Shape
from plainstack.inventory.stack import Stack
from plainstack.inventory.validation import Machine, contradictions, shared_addresses
from plainstack.inventory.yaml_limits import MAX_BYTES
from plainstack.inventory.yaml_reader import Line, Text
from plainstack.wording import Loc, counted, did_you_mean, dotted, quoted, shortened

# The most problems shown in one run.
MOST_PROBLEMS = 40

# Pydantic's error types, and how a message that starts with "must be" continues.
_EXPECTED = {
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "path_type": "a path",
    "too_short": "a mapping with at least one name",
    "string_too_long": "at most {max_length} characters long",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "ip_v4_address": "an IPv4 address",
    "ip_v4_network": "an IPv4 network",
    "ip_v6_network": "an IPv6 network",
}


def load(path: Path, shape: Shape) -> Stack:
    """Read and check an inventory. Raises InventoryError with every problem found."""
    return checked(read_file(path, shape), path.resolve().parent, shape)


def read_file(path: Path, shape: Shape) -> Text:
    """Read an inventory file and every file that it extends, without checking them. Raises InventoryError."""
    try:
        return read(_text(path, str(path)), str(path), path.resolve().parent, shape)
    except FileNotFoundError:
        raise InventoryError([f"{path}: no such inventory; name one with --inventory=FILE"]) from None
    except OSError as error:
        raise InventoryError([f"{shortened(str(path))}: cannot be read: {error.strerror}"]) from None


def _text(path: Path, name: str) -> str:
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        raise InventoryError([f"{name}: is {what}; name an inventory file with --inventory=FILE"])
    with path.open("rb") as file:
        # A character takes up to four bytes in UTF-8.
        content = file.read(4 * MAX_BYTES + 1)
    if len(content) > 4 * MAX_BYTES:
        raise InventoryError([f"{name}:1: has more than {MAX_BYTES:,} characters, the limit"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InventoryError([f"{name}:{line}: is not UTF-8 text; save it in UTF-8"]) from None


def parse(text: str, name: str, folder: Path, shape: Shape) -> Stack:
    """Load a stack from an inventory's text; errors call the file `name`, and relative paths start in `folder`."""
    return checked(read(text, name, folder, shape), folder, shape)


def read(text: str, name: str, folder: Path, shape: Shape) -> Text:
    """Parse an inventory's text and every file that it extends, without checking them. Raises InventoryError."""
    found = extends.read(text, name, folder, _text, partial(is_path, shape.model))
    if found.data is None:
        raise InventoryError([f"{name}:1: an inventory is a mapping that begins with 'stack: NAME'"])
    return found


def checked(found: Text, folder: Path, shape: Shape) -> Stack:
    """Return the stack that a text describes. Raises InventoryError with every problem found."""
    problems, data = found.problems, found.data or {}
    stack = None
    if not problems:
        problems = [(found.line(loc), f"{dotted(loc)}: {unknown(shape.model, loc)}") for loc in _internal(data)]
        try:
            stack = shape.validate({**_named(data), "folder": folder})
        except ValidationError as error:
            problems += _explain(error, found, shape.model)
        wrong = contradictions(stack, shape) if stack else shared_addresses(_valid_hosts(data))
        problems += [(found.line(loc), what) for loc, what in wrong]
    if problems or stack is None:
        ordered = list(dict.fromkeys(sorted(problems, key=lambda problem: problem[0])))
        shown = [f"{found.shown(line)}: {what}" for line, what in ordered[:MOST_PROBLEMS]]
        if len(ordered) > MOST_PROBLEMS:
            more = counted(len(ordered) - MOST_PROBLEMS, "more problem")
            shown.append(f"{found.shown(ordered[MOST_PROBLEMS][0])}: and {more} from here")
        raise InventoryError(shown)
    return stack


def _internal(data: dict[Any, Any]) -> Iterator[Loc]:
    """Yield the places of keys that only the code may set."""
    for key in HIDDEN & data.keys():
        yield (key,)
    for name, host in _hosts(data).items():
        if isinstance(host, dict) and "name" in host:
            yield ("hosts", str(name), "name")


def _hosts(data: dict[Any, Any]) -> dict[Any, Any]:
    hosts = data.get("hosts")
    return hosts if isinstance(hosts, dict) else {}


def _named(data: dict[Any, Any]) -> dict[Any, Any]:
    """Return the data with each host's name added to the host."""
    if not _hosts(data):
        return data
    named = {
        name: {**host, "name": str(name)} if isinstance(host, dict) else host for name, host in _hosts(data).items()
    }
    return {**data, "hosts": named}


def _valid_hosts(data: dict[Any, Any]) -> Iterator[Machine]:
    """Yield the hosts that are valid by themselves, from an inventory that is invalid as a whole."""
    for name, host in _hosts(_named(data)).items():
        with contextlib.suppress(ValidationError):
            yield ("hosts", str(name)), Host.model_validate(host)


def _explain(error: ValidationError, found: Text, model: type[Stack]) -> Iterator[tuple[Line, str]]:
    """Yield every error as (line, message); the alternatives of a union are joined into one message."""
    expected: dict[Loc, dict[str, None]] = {}
    given: dict[Loc, Any] = {}
    for item in error.errors():
        kind, context = item["type"], item.get("ctx") or {}
        loc, branch = _place(item["loc"], kind, found)
        if kind == "extra_forbidden":
            yield found.line(loc), f"{dotted(loc)}: {unknown(model, item['loc'])}"
        elif kind == "unknown_kind":
            known, given_kind = context["known"], item["input"]["kind"]
            hint = did_you_mean(str(given_kind), known)
            what = f"unknown kind {quoted(given_kind)}{hint}; known kinds: {', '.join(known)}"
            yield found.line((*loc, "kind")), f"{dotted((*loc, 'kind'))}: {what}"
        elif kind == "missing":
            yield found.line(loc), f"{dotted(loc)}: is missing"
        elif kind == "unknown_role":
            known = context["known"]
            what = f"unknown role {quoted(item['input'])}{did_you_mean(item['input'], known)}"
            yield found.line(loc), f"{dotted(loc)}: {what}; known roles: {', '.join(known)}"
        elif not (branch and isinstance(item["input"], dict)):
            expected.setdefault(loc, {})[_expectation(item, model, loc)] = None
            given[loc] = item["input"]
    for loc, phrases in expected.items():
        # Do not echo the value: a private key may have been pasted among the recipients.
        shown = "" if loc[0] == "secrets" else f" (given: {_given(given[loc], loc, found, phrases)})"
        yield found.line(loc), f"{dotted(loc)}: must be {' or '.join(phrases)}{shown}"


def _given(value: Any, loc: Loc, found: Text, wanted: Iterable[str]) -> str:
    """Return a value as it was written, and how YAML reads it if that is unexpected."""
    if isinstance(value, str) or loc not in found.written:
        return quoted(value)
    written = found.written[loc]
    if value is None:
        return f"{written}, which is null in YAML" if written else "nothing"
    if isinstance(value, bool):
        return f"{written}, which YAML reads as {str(value).lower()}; in quotes it is text"
    if isinstance(value, float) and any(re.search(r"\btext\b|in quotes", phrase) for phrase in wanted):
        return f"{shortened(written)}, which YAML reads as the number {value:g}; in quotes it is text"
    return shortened(written)


def _place(raw: Loc, kind: str, found: Text) -> tuple[Loc, bool]:
    """Return an error's place in the file, and whether it is about a branch of a union (whose name is not a key)."""
    loc: Loc = ()
    branch = False
    for number, part in enumerate(raw, 1):
        key = next((key for key in (part, str(part)) if (*loc, key) in found.lines), None)
        if key is not None or (number == len(raw) and kind in ("missing", "extra_forbidden")):
            loc, branch = (*loc, part if key is None else key), False
        elif part != "[key]":
            branch = True
    return loc, branch


def _expectation(error: ErrorDetails, model: type[Stack], loc: Loc) -> str:
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "literal_error":
        return " or ".join(_choices(context))
    if kind == "model_type" and (keys := fields_at(model, loc)):
        return f"a mapping with {', '.join(keys)}"
    if kind == "string_type" and (pattern := pattern_at(model, loc)):
        return meaning(pattern)
    if kind == "string_pattern_mismatch":
        return meaning(context["pattern"])
    if kind in _EXPECTED:
        return _EXPECTED[kind].format(**context)
    return error["msg"].removeprefix("Value error, ").removeprefix("must be ")


def _choices(context: dict[str, Any]) -> list[str]:
    return [choice.strip("' ") for choice in str(context.get("expected", "")).replace(" or ", ",").split(",")]


def select(
    stack: Stack, known: Iterable[str], roles: str = "", hosts: str = ""
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the roles and of the hosts that --role and --host select; no role names means all roles.

    `known` are the names of all roles. Raises Refused on an unknown name, or if no host matches.
    """
    chosen_roles = _names(roles, [*known], "role")
    chosen_hosts = _names(hosts, list(stack.hosts), "host")
    names = [
        host.name
        for host in stack.hosts.values()
        if (not chosen_hosts or host.name in chosen_hosts)
        and (not chosen_roles or any(role in host.roles for role in chosen_roles))
    ]
    if not names:
        raise Refused(f"no host matches --role={roles or '*'} --host={hosts or '*'}")
    return tuple(chosen_roles), tuple(names)


def _names(text: str, known: list[str], kind: str) -> list[str]:
    names = listed(text, f"--{kind}")
    for name in names:
        if name not in known:
            raise Refused(f"unknown {kind} {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    return names
