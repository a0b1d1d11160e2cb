"""hosts.yaml -> Stack; every error names file:line and the key's path, and all of them are told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from plainstack.errors import InventoryError, Refused
from plainstack.stack import ROLE_NAMES, GivenCertificate, Host, Stack

Loc = tuple[str | int, ...]
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# A role's hosts are of no use without these: (role, role it needs).
NEEDS = (("backup", "db"), ("app", "db"), ("balancer", "app"))


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
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InventoryError([f"{name}:{line}: not valid YAML: {error.problem or error.context}"]) from None
    except yaml.YAMLError as error:
        raise InventoryError([f"{name}:1: not valid YAML: {error}"]) from None
    if not isinstance(root, yaml.MappingNode):
        raise InventoryError([f"{name}:1: an inventory is a mapping that begins with 'stack: NAME'"])
    lines: dict[Loc, int] = {}
    problems = [f"{name}:{line}: {what}" for line, what in _index(root, (), lines)]
    if problems:
        raise InventoryError(problems)
    data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, C or Python
    if isinstance(data.get("hosts"), dict):
        for host_name, host in data["hosts"].items():
            if isinstance(host, dict) and "name" not in host:
                host["name"] = host_name
    try:
        stack = Stack.model_validate({**data, "folder": folder})
    except ValidationError as error:
        raise InventoryError(_explain(error, name, lines)) from None
    problems = [f"{name}:{_line(loc, lines)}: {what}" for loc, what in _contradictions(stack)]
    if problems:
        raise InventoryError(problems)
    return stack


def _index(node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> Iterator[tuple[int, str]]:
    """Note the line of every key; yield duplicate keys, which YAML would let win silently."""
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield line, f"{_dotted(loc) or 'top level'}: a key must be a plain word"
                continue
            here = (*loc, key.value)
            if key.value in seen:
                yield line, f"{_dotted(here)}: given twice, first on line {seen[key.value]}"
            seen[key.value] = line
            lines[here] = line
            yield from _index(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _index(value, (*loc, position), lines)


def _dotted(loc: Loc) -> str:
    return ".".join(str(part) for part in loc)


def _line(loc: Loc, lines: dict[Loc, int]) -> int:
    while loc not in lines:
        loc = loc[:-1]
    return lines[loc]


def _explain(error: ValidationError, name: str, lines: dict[Loc, int]) -> list[str]:
    problems: dict[str, None] = {}
    for item in error.errors():
        # A union's error location carries the branch's name, which is no key of the file.
        raw: Loc = item["loc"]
        loc = raw
        while loc and loc not in lines and loc[:-1] not in lines:
            loc = loc[:-1]
        if item["type"] in ("missing", "extra_forbidden"):
            loc = raw
        what = _sentence(item["type"], item["msg"], item.get("input"), raw, item.get("ctx") or {})
        problems[f"{name}:{_line(loc, lines)}: {_dotted(loc)}: {what}"] = None
    return sorted(problems, key=lambda text: int(text.removeprefix(f"{name}:").split(":")[0]))


def _sentence(kind: str, message: str, given: Any, loc: Loc, context: dict[str, Any]) -> str:
    if kind == "extra_forbidden":
        known = _fields_at(loc[:-1])
        return f"unknown key{_did_you_mean(str(loc[-1]), known)}; known here: {', '.join(known)}"
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        choices = [choice.strip("' ") for choice in str(context.get("expected", "")).replace(" or ", ",").split(",")]
        if "roles" in loc:
            return f"unknown role {given!r}{_did_you_mean(str(given), choices)}; known roles: {', '.join(choices)}"
        return f"{given!r} is not one of {', '.join(choices)}"
    return f"{message.removeprefix('Value error, ')} (given: {given!r})"


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
    hidden = {"folder", "name"} if model in (Stack, Host) else set()
    return [field for field in model.model_fields if field not in hidden] if hasattr(model, "model_fields") else []


def _contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """What no single key can show: the same address twice, a role without the roles it needs, a missing section."""
    seen: dict[object, str] = {}
    machines: list[tuple[Loc, Any]] = [(("hosts", name), host) for name, host in stack.hosts.items()]
    machines += [(("lab", "visitors", name), visitor) for name, visitor in stack.lab.visitors.items()]
    for loc, machine in machines:
        for key in ("address", "public"):
            address = getattr(machine, key)
            if address is None:
                continue
            if address in seen:
                yield (*loc, key), f"{_dotted((*loc, key))}: {address} is already the address of {seen[address]}"
            seen.setdefault(address, str(loc[-1]))
    virtual = stack.balancer.virtual_address
    if virtual in seen:
        yield ("balancer", "virtual_address"), f"balancer.virtual_address: {virtual} is the address of {seen[virtual]}"
    for name in stack.lab.visitors:
        if name in stack.hosts:
            yield ("lab", "visitors", name), f"lab.visitors.{name}: a host of the stack has this name"
    for role, needed in NEEDS:
        if stack.with_role(role) and not stack.with_role(needed):
            first = stack.with_role(role)[0].name
            yield (
                ("hosts", first, "roles"),
                f"hosts.{first}.roles: {role} needs a host with the role {needed}, and none has it",
            )
    for name, host in stack.hosts.items():
        if len(set(host.roles)) != len(host.roles):
            yield ("hosts", name, "roles"), f"hosts.{name}.roles: a role is given twice"
    if stack.with_role("db") and stack.database is None:
        yield (), "database: is missing; a host has the role db (write: database: {name: NAME})"
    if stack.with_role("app") and not stack.services:
        yield (), "services: is missing; a host has the role app"
    ports: dict[int, str] = {}
    paths: dict[str, str] = {}
    for name, service in stack.services.items():
        if not stack.file(service.source).is_dir():
            yield ("services", name, "source"), f"services.{name}.source: no such folder: {service.source}"
        if service.port in ports:
            yield ("services", name, "port"), f"services.{name}.port: {service.port} is taken by {ports[service.port]}"
        ports.setdefault(service.port, name)
        if service.path in paths:
            yield ("services", name), f"services.{name}.path: {service.path} is already served by {paths[service.path]}"
        paths.setdefault(service.path, name)
    yield from _entrance(stack)
    if virtual is not None:
        for host in stack.with_role("balancer"):
            if host.public is None:
                yield ("hosts", host.name), f"hosts.{host.name}.public: is missing; balancer.virtual_address needs it"


def _entrance(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """What the balancers need as files beside the inventory: given certificates, and the key of Angie's packages."""
    balancer = stack.balancer
    if balancer.engine == "angie":
        if balancer.angie_key is None:
            yield (
                ("balancer", "engine"),
                "balancer.angie_key: is missing; engine angie needs the key that signs its packages, as a file: "
                "fetch https://angie.software/keys/angie-signing.gpg and compare its checksum with a source you trust",
            )
        elif not stack.file(balancer.angie_key).is_file():
            yield ("balancer", "angie_key"), f"balancer.angie_key: no such file: {balancer.angie_key}"
    if isinstance(balancer.tls, GivenCertificate):
        from plainstack import pki

        if not balancer.server_names:
            yield (
                ("balancer", "tls"),
                "balancer.server_names: is missing; name what the given certificate is for, as users type it",
            )
        for key, problem in pki.given_problems(stack, balancer.tls):
            yield ("balancer", "tls", key), f"balancer.tls.{key}: {problem}"


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
