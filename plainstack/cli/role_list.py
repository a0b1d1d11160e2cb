"""The list that `inv roles` prints: every role with its origin, its hosts, its needs, and its settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.engine.declared import secrets_of
from plainstack.engine.role import Role, hosts_of
from plainstack.inventory.sections import Model
from plainstack.inventory.stack import Stack

REQUIRED = "required"


@dataclass(frozen=True)
class Setting:
    """A key of the inventory; `default` is YAML, or "required", or empty if there is none."""

    key: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Row:
    """One role of a stack; `hosts` are the hosts that have it."""

    name: str
    about: str
    origin: str
    hosts: tuple[str, ...]
    needs: tuple[str, ...]
    after: tuple[str, ...]
    secrets: tuple[str, ...]
    provides: tuple[str, ...]
    settings: tuple[Setting, ...]


def rows(stack: Stack, roles: Mapping[str, Role]) -> list[Row]:
    """Return every role of a stack, in the order in which they are deployed."""
    return [
        Row(
            name,
            role.about,
            role.origin,
            tuple(host.name for host in hosts_of(stack, role)),
            role.needs,
            (*role.after, *role.follows),
            tuple(secret.name for secret in secrets_of(role, stack)),
            tuple(f"${{{name}}}" for name in role.provides),
            tuple(_settings(role.key or name, role.settings)) if role.settings else (),
        )
        for name, role in roles.items()
    ]


def _settings(key: str, model: type[Model]) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        default = REQUIRED if field.is_required() else _text(field.get_default(call_default_factory=True))
        yield Setting(f"{key}.{name}", default, field.description or "")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def lines(found: list[Row]) -> Iterator[str]:
    """Yield the rows as lines of text, one paragraph per role."""
    for number, row in enumerate(found):
        if number:
            yield ""
        yield f"{row.name} ({row.origin})"
        if row.about:
            yield f"  {row.about}"
        yield f"  hosts: {', '.join(row.hosts) or 'none'}"
        if row.needs:
            yield f"  needs a host with: {', '.join(row.needs)}"
        if row.after:
            yield f"  deployed after: {', '.join(row.after)}"
        if row.secrets:
            yield f"  secrets: {', '.join(row.secrets)}"
        if row.provides:
            yield f"  services can refer to: {', '.join(row.provides)}"
        width = max((len(setting.key) for setting in row.settings), default=0)
        for setting in row.settings:
            yield f"  {setting.key:<{width}}  {setting.default}".rstrip()
