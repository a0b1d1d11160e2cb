"""The configuration: a file in JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file and the key."""


@dataclass(frozen=True)
class Config:
    """All settings.

    `database` has the parameters of libpq, such as host and dbname. `prepare_seconds` is the time that filling the
    tables takes at least, `start_seconds` the time until the server listens. After `sick_after_requests` requests, or
    after `sick_after_seconds` on average, the server is sick; 0 stands for never.
    """

    database: dict[str, str] = field(default_factory=dict)
    connections: int = 8
    customers: int = 20_000
    sessions: int = 400_000
    prepare_seconds: float = 150
    start_seconds: float = 30
    sick_after_requests: int = 0
    sick_after_seconds: float = 0


def read(path: str) -> Config:
    """Read a configuration. Raises ConfigError."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: is not an object")
    known = {each.name for each in fields(Config)}
    for key, value in data.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r}; known: {', '.join(sorted(known))}")
        _check(path, key, value)
    return Config(**data)


def _check(path: str, key: str, value: Any) -> None:
    if key == "database":
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise ConfigError(f"{path}: {key} is not an object of strings")
        return
    whole = isinstance(getattr(Config(), key), int) and key in ("connections", "customers", "sessions")
    least = 1 if whole else 0
    kinds = (int,) if whole or key == "sick_after_requests" else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value < least:
        raise ConfigError(f"{path}: {key} is not a number from {least}")
