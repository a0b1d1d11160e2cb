"""hosts.yaml -> Stack; every error names file:line and the key's path, and all of them are told at once."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from plainstack.contradictions import Loc, Machine, contradictions, dotted, shared_addresses
from plainstack.errors import InventoryError, Refused
from plainstack.stack import ROLE_NAMES, Host, Stack

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What pydantic calls an error, and how "must be" goes on in an inventory's words.
# Fields of a stack that no person writes.
_HIDDEN = {"folder", "still"}
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
    "string_pattern_mismatch": "text of the form {pattern}",
    "ip_v4_address": "an IPv4 address",
    "ip_v4_network": "an IPv4 network",
    "ip_v6_network": "an IPv6 network",
}


def load(path: Path) -> Stack:
    """Read and check an inventory; raises InventoryError with every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InventoryError([f"{path}: no such inventory; name one with --inventory=FILE"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError([f"{path}: cannot be read: {error}"]) from None
    return parse(text, str(path), path.resolve().parent)


def parse(text: str, name: str, folder: Path) -> Stack:
    """Check an inventory's text; `name` is what errors call the file, `folder` where its relative paths start."""
    lines: dict[Loc, int] = {}
    problems: list[tuple[int, str]] = []
    try:
        root = yaml.compose(text, Loader=_Loader)
        if isinstance(root, yaml.MappingNode):
            problems = list(_index(root, (), lines))
        data = yaml.load(text, Loader=_Loader) if not problems else {}  # noqa: S506 - a safe loader, C or Python
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InventoryError([f"{name}:{line}: not valid YAML: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InventoryError([f"{name}:1: not valid YAML: {str(error).splitlines()[0]}"]) from None
    except RecursionError:
        raise InventoryError([f"{name}:1: an alias stands for something that holds the alias itself"]) from None
    if not isinstance(root, yaml.MappingNode):
        raise InventoryError([f"{name}:1: an inventory is a mapping that begins with 'stack: NAME'"])
    stack = None
    if not problems:
        problems = [(_line(loc, lines), f"{dotted(loc)}: {_unknown(loc)}") for loc in _internal(data)]
        try:
            stack = Stack.model_validate({**_named(data), "folder": folder})
        except ValidationError as error:
            problems += _explain(error, lines)
        found = contradictions(stack) if stack else shared_addresses(_valid_hosts(data))
        problems += [(_line(loc, lines), what) for loc, what in found]
    if problems or stack is None:
        ordered = dict.fromkeys(sorted(problems, key=lambda problem: problem[0]))
        raise InventoryError([f"{name}:{line}: {what}" for line, what in ordered])
    return stack


def _internal(data: dict[Any, Any]) -> Iterator[Loc]:
    """Keys that only the models know: no person writes them."""
    for key in _HIDDEN & data.keys():
        yield (key,)
    for name, host in _hosts(data).items():
        if isinstance(host, dict) and "name" in host:
            yield ("hosts", str(name), "name")


def _hosts(data: dict[Any, Any]) -> dict[Any, Any]:
    hosts = data.get("hosts")
    return hosts if isinstance(hosts, dict) else {}


def _named(data: dict[Any, Any]) -> dict[Any, Any]:
    """The data with every host's name in it."""
    if not _hosts(data):
        return data
    named = {
        name: {**host, "name": str(name)} if isinstance(host, dict) else host for name, host in _hosts(data).items()
    }
    return {**data, "hosts": named}


def _valid_hosts(data: dict[Any, Any]) -> Iterator[Machine]:
    """The hosts that can be judged although another part of the inventory is wrong."""
    for name, host in _hosts(_named(data)).items():
        with contextlib.suppress(ValidationError):
            yield ("hosts", str(name)), Host.model_validate(host)


def _index(node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> Iterator[tuple[int, str]]:
    """Note the line of every key; yield duplicate keys, which YAML would let win silently."""
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield line, f"{dotted(loc) or 'top level'}: a key must be a plain word"
                continue
            here = (*loc, key.value)
            if key.value in seen:
                yield line, f"{dotted(here)}: given twice, first on line {seen[key.value]}"
            seen[key.value] = line
            lines[here] = line
            yield from _index(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _index(value, (*loc, position), lines)


def _line(loc: Loc, lines: dict[Loc, int]) -> int:
    while loc not in lines:
        loc = loc[:-1]
    return lines[loc]


def _explain(error: ValidationError, lines: dict[Loc, int]) -> Iterator[tuple[int, str]]:
    """Every error of the models as (line, sentence); what a union's branches expected becomes one sentence."""
    expected: dict[Loc, dict[str, None]] = {}
    given: dict[Loc, Any] = {}
    for item in error.errors():
        kind, context = item["type"], item.get("ctx") or {}
        loc, branch = _place(item["loc"], kind, lines)
        if kind == "extra_forbidden":
            yield _line(loc, lines), f"{dotted(loc)}: {_unknown(loc)}"
        elif kind == "missing":
            yield _line(loc, lines), f"{dotted(loc)}: is missing"
        elif kind == "literal_error" and "roles" in loc:
            choices = _choices(context)
            what = f"unknown role {item['input']!r}{_did_you_mean(str(item['input']), choices)}"
            yield _line(loc, lines), f"{dotted(loc)}: {what}; known roles: {', '.join(choices)}"
        elif not (branch and isinstance(item["input"], dict)):
            expected.setdefault(loc, {})[_expectation(kind, item["msg"], context, loc)] = None
            given[loc] = item["input"]
    for loc, phrases in expected.items():
        # A private key may have been pasted among the recipients.
        shown = "" if loc[0] == "secrets" else f" (given: {given[loc]!r})"
        yield _line(loc, lines), f"{dotted(loc)}: must be {' or '.join(phrases)}{shown}"


def _place(raw: Loc, kind: str, lines: dict[Loc, int]) -> tuple[Loc, bool]:
    """Where in the file an error is, and whether pydantic met it in a branch of a union, whose name is no key."""
    loc: Loc = ()
    branch = False
    for number, part in enumerate(raw, 1):
        key = next((key for key in (part, str(part)) if (*loc, key) in lines), None)
        if key is not None or (number == len(raw) and kind in ("missing", "extra_forbidden")):
            loc = (*loc, part if key is None else key)
        elif part != "[key]":
            branch = True
    return loc, branch


def _expectation(kind: str, message: str, context: dict[str, Any], loc: Loc) -> str:
    if kind == "literal_error":
        return " or ".join(_choices(context))
    if kind == "model_type" and (keys := _fields_at(loc)):
        return f"a mapping with {', '.join(keys)}"
    if kind in _EXPECTED:
        return _EXPECTED[kind].format(**context)
    return message.removeprefix("Value error, ").removeprefix("must be ")


def _choices(context: dict[str, Any]) -> list[str]:
    return [choice.strip("' ") for choice in str(context.get("expected", "")).replace(" or ", ",").split(",")]


def _unknown(loc: Loc) -> str:
    known = _fields_at(loc[:-1])
    return f"unknown key{_did_you_mean(str(loc[-1]), known)}; known here: {', '.join(known)}"


def _did_you_mean(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""


def _fields_at(loc: Loc) -> list[str]:
    """The keys a person may write at a place of the inventory, from the models themselves."""
    model: Any = Stack
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            if field is None:
                continue
            model = field.annotation
        for option in (model, *get_args(model)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                model = option
    hidden = {*_HIDDEN, "name"} if model in (Stack, Host) else set()
    return [field for field in model.model_fields if field not in hidden] if hasattr(model, "model_fields") else []


def select(stack: Stack, roles: str = "", hosts: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The (role names, host names) that --role and --host mean; empty means all. Raises Refused on an unknown name."""
    chosen_roles = _names(roles, [*ROLE_NAMES], "role")
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
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise Refused(f"unknown {kind} {name!r}{_did_you_mean(name, known)}; known: {', '.join(known)}")
    return names
